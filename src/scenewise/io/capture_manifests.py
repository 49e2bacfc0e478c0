"""A list of captures of mixed origin in one JSON file, each with how often it is drawn: what ``scenewise pretrain`` learns from.

::

    {"captures": [
        {"path": "kitchen"},
        {"path": "/data/co3d/chair", "weight": 2.0, "name": "chairs"},
        {"path": "/data/scannet", "split": "train", "weight": 5.0}
    ]}
"""

from dataclasses import dataclass
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.json_fields import JsonFields, read_json_object

MANIFEST_KEY = "captures"
_MANIFEST_ENDING = ".json"


@dataclass(frozen=True)
class ListedCapture:
    """One line of a manifest: a capture, or a folder of them.

    Attributes:
        path: where it is.
        weight: of all captures there together; None: each counts 1.
        name: what it is called; None: as its folder.
        split: of a data set that has some; None: "train" where there are splits.
    """

    path: Path
    weight: float | None = None
    name: str | None = None
    split: str | None = None


def is_manifest(path: Path) -> bool:
    """Whether a file is a JSON object with a list of captures; a ``transforms.json`` is none.

    Raises:
        DataFormatError: it is named like JSON and is none.
    """
    return path.suffix.lower() == _MANIFEST_ENDING and path.is_file() and MANIFEST_KEY in read_json_object(path).keys()  # noqa: SIM118 (no mapping)


def read_manifest(path: str | Path) -> tuple[ListedCapture, ...]:
    """The captures that a manifest lists; relative paths start at its own folder.

    Raises:
        DataFormatError: no such file, no capture in it, an unknown key, a weight that is not above 0, a path where nothing is, or
            one that is listed twice.
    """
    path = Path(path)
    top = read_json_object(path)
    found = tuple(_listed(path, entry) for entry in top.objects(MANIFEST_KEY))
    top.finish()
    if not found:
        raise DataFormatError(path, MANIFEST_KEY, expected="at least one capture", got="none")
    places = [(capture.path.resolve(), capture.split) for capture in found]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise DataFormatError(
                path,
                f"{MANIFEST_KEY}[{index}].path",
                expected="each capture once",
                got=f"{found[index].path} again",
                fix="raise the weight of one that is to be drawn more often",
            )
    return found


def _listed(manifest: Path, entry: JsonFields) -> ListedCapture:
    written, weight, name, split = (
        entry.text("path"),
        entry.number("weight", None),
        entry.text("name", None),
        entry.text("split", None),
    )
    entry.finish()
    if weight is not None and not weight > 0:
        raise entry.wrong("weight", "a number above 0", weight, "leave out what is not to be drawn")
    for key, value in (("path", written), ("name", name)):
        if value is not None and not value.strip():
            raise entry.wrong(key, "a text", "an empty one")
    place = manifest.parent / Path(written).expanduser()
    if not place.exists():
        raise entry.wrong(
            "path", "a capture or a folder of captures", f"nothing at {place}", "relative paths start at the manifest"
        )
    return ListedCapture(place, weight, name, split)

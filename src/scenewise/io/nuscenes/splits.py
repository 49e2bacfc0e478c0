"""The official splits of nuScenes: 700, 150 and 150 scenes; 8 and 2 of the mini release."""

from functools import cache
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.json_fields import read_json_object
from scenewise.io.nuscenes.tables import read_records, tables_of

SPLIT_SIZES = {"train": 700, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2}
"""Scenes in each split.  Source: Caesar et al. 2020, "nuScenes", arXiv 1903.11027, and the lists of its development kit."""


@cache
def official_scenes(split: str) -> frozenset[str]:
    """Names of a split's scenes, such as ``scene-0061``.

    >>> sorted(official_scenes("mini_val"))
    ['scene-0103', 'scene-0916']
    """
    names: list[str] = []
    for line in read_json_object(Path(__file__).with_name("splits.json")).texts(split):
        for numbers in line.split():
            first, _, last = numbers.partition("-")
            names += [f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1)]
    return frozenset(names)


def splits_there(path: Path) -> dict[str, frozenset[str]]:
    """Scenes of the data in a folder by split, under the names a person may give; splits without any are left out.

    The mini release calls its own two "train" and "val", and both names of each are known.  Data of other scenes has no split.

    Raises:
        DataFormatError: no tables, or broken ones.
    """
    tables = tables_of(path)
    present = frozenset(record.text("name") for record in read_records(tables / "scene.json", None))
    official = {"train": "mini_train", "val": "mini_val"} if tables.name.endswith("-mini") else {}
    wanted = {name: official.get(name, name) for name in SPLIT_SIZES if not (official and name == "test")}
    found = {name: present & official_scenes(split) for name, split in wanted.items()}
    return {name: scenes for name, scenes in found.items() if scenes}


def scenes_of_split(path: Path, split: str) -> frozenset[str]:
    """Names of the scenes of a split that are there.

    Raises:
        DataFormatError: none is, or there is no such split; the message names those that there are.
    """
    there = splits_there(path)
    if split not in there:
        listed = ", ".join(f"{name} ({len(scenes)} scene{'s' if len(scenes) > 1 else ''})" for name, scenes in there.items())
        raise DataFormatError(
            path,
            "split",
            expected=listed or "none: its scenes are in no official list",
            got=split,
            fix="name one that is there, or none",
        )
    return there[split]

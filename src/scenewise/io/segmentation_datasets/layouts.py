"""Finding images and labels in the folders of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.listed_files import is_hidden
from scenewise.io.segmentation_datasets.label_codes import LabelCodes
from scenewise.io.segmentation_datasets.labelled_images import LabelledFile

_MAX_LIST_BYTES = 1 << 26


@dataclass(frozen=True)
class LabelFiles:
    """One way in which label files come.

    Attributes:
        ending: of a label file's name, behind what it shares with the image's.
        codes: what is in it.
    """

    ending: str
    codes: LabelCodes


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps what.

    Attributes:
        images: folder of the images below the root.
        image_ending: what follows the name.
        labels: folder of the label maps.
        label_files: how they may come, best first.
        homes: folders below the root that people name instead of the data set's own.
        source: what to download and do, for messages.
        split: list of names, one per line; None takes every image there is, in subfolders too.
    """

    images: str
    image_ending: str
    labels: str
    label_files: tuple[LabelFiles, ...]
    homes: tuple[str, ...]
    source: str
    split: str | None = None

    @property
    def description(self) -> str:
        """What a folder of this layout holds, in words."""
        nested = "" if self.split is not None else "[…/]"
        parts = [
            f"{self.images}/{nested}NAME{self.image_ending}",
            f"{self.labels}/{nested}NAME{self.label_files[0].ending}",
        ]
        return " and ".join(parts if self.split is None else [", ".join(parts), self.split])

    def find(self, root: Path) -> dict[str, LabelledFile]:
        """All images with their labels, by name, in the order of the list or of the names.

        Raises:
            DataFormatError: a folder, the list, an image or a label map is missing.
        """
        home = self._home(root)
        for folder in (self.images, self.labels):
            if not (home / folder).is_dir():
                raise DataFormatError(
                    home / folder, expected=f"a folder; {root} should hold {self.description}", got="nothing", fix=self.source
                )
        names = _all_names(home / self.images, self.image_ending) if self.split is None else self._listed(home / self.split, root)
        files = {}
        missing = []
        for name in names:
            image = home / self.images / f"{name}{self.image_ending}"
            found = [kind for kind in self.label_files if (home / self.labels / f"{name}{kind.ending}").is_file()]
            if not image.is_file():
                missing.append(image)
            elif not found:
                missing.append(home / self.labels / f"{name}{self.label_files[0].ending}")
            else:
                files[name] = LabelledFile(image, home / self.labels / f"{name}{found[0].ending}", found[0].codes)
        if missing:
            raise DataFormatError(
                missing[0],
                expected=f"the file of each of the {len(names)} images",
                got=f"{len(missing)} missing, this the first",
                fix=self.source,
            )
        return files

    def _home(self, root: Path) -> Path:
        """The data set's own folder: the one given, or one of the usual places below it."""
        if not root.is_dir():
            raise DataFormatError(
                root, expected=f"a folder with {self.description}", got="a file" if root.exists() else "nothing", fix=self.source
            )
        candidates = [root, *(root / home for home in self.homes)]
        return next((folder for folder in candidates if (folder / self.images).is_dir()), root)

    def _listed(self, path: Path, root: Path) -> list[str]:
        if not path.is_file():
            raise DataFormatError(
                path, expected=f"the list of names; {root} should hold {self.description}", got="nothing", fix=self.source
            )
        with open_bounded(path) as (file, size):
            if size > _MAX_LIST_BYTES:
                raise DataFormatError(path, expected=f"at most {_MAX_LIST_BYTES:,} bytes", got=f"{size:,}")
            text = file.read(size).decode("utf-8", errors="replace")
        names: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            name = line.strip()
            if not name:
                continue
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or name in names:
                problem = f"{name!r} again" if name in names else repr(name[:60])
                raise DataFormatError(path, f"line {number}", expected="a name below the image folder, each once", got=problem)
            names[name] = number
        if not names:
            raise DataFormatError(path, expected="at least one name", got="none", fix=self.source)
        return list(names)


def _all_names(folder: Path, ending: str) -> list[str]:
    def walk() -> Iterator[str]:
        for path in folder.rglob(f"*{ending}"):
            below = path.relative_to(folder)
            if not any(is_hidden(part) for part in below.parts):
                yield below.as_posix().removesuffix(ending)

    names = sorted(walk())
    if not names:
        raise DataFormatError(
            folder, expected=f"files …{ending}", got="none", fix="check the folder and unpack the images into it"
        )
    return names

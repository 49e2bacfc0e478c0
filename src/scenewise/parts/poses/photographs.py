"""Which photographs there are, in which order, and what their files say of them."""

import re
from dataclasses import dataclass
from pathlib import Path

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.exif import read_photograph_header
from scenewise.io.georeference import GPS_CSV_NAME, read_gps_csv, read_gps_exif
from scenewise.io.images import CONVERT_FIX, IMAGE_SUFFIXES, UNREAD_SUFFIXES
from scenewise.io.masks import MaskFinder
from scenewise.parts.poses.records import LeftOut

PICTURE_FOLDERS = (".", "images", "input")
"""Where the photographs of a folder may lie, in the order in which they are looked for."""
FEWEST_PHOTOGRAPHS = 3
_LISTED_AT_MOST = 5

Position = tuple[float, float, float]


@dataclass(frozen=True)
class Photograph:
    """A picture file whose header could be read.

    Attributes:
        name: of the file, as the capture will call it.
        path: of the file.
        width: in pixels.
        height: in pixels.
        camera: what EXIF says of the camera, "" for nothing.
        focal_px: by EXIF, or None.
        position: latitude and longitude in degrees, altitude in metres (WGS 84), or None.
        mask: file with the pixels to use, or None for all.
    """

    name: str
    path: Path
    width: int
    height: int
    camera: str
    focal_px: float | None
    position: Position | None
    mask: Path | None = None


@dataclass(frozen=True)
class Photographs:
    """The pictures of a folder in natural order of their names.

    Attributes:
        root: folder they lie in.
        pictures: usable ones.
        left_out: those that are not.
        gps_csv: table of their positions, or None.
    """

    root: Path
    pictures: tuple[Photograph, ...]
    left_out: tuple[LeftOut, ...] = ()
    gps_csv: Path | None = None


def pictures_in(folder: Path) -> list[Path]:
    """Picture files by their names: of the folder, else of ``images`` or ``input`` below it; empty where there are none.

    Those of formats that are not read are among them, so that they can be named, unless the same picture is there in one that is
    (raw files beside JPEG).
    """
    return next((found for name in PICTURE_FOLDERS if (found := _files_in(folder / name))), [])


def read_photographs(folder: Path) -> Photographs:
    """Headers of all pictures of a folder.

    Files that cannot be read are left out with their reason, and so are depth maps that lie among photographs.  Masks are found
    where :class:`~scenewise.io.masks.MaskFinder` looks; those that lie among the photographs are none.

    Raises:
        DataFormatError: no folder, fewer than three usable pictures, two of one name, a broken ``gps.csv``.
    """
    if not folder.is_dir():
        raise DataFormatError(folder, expected="a folder of photographs, or a film", got="nothing", fix="check the path")
    paths = pictures_in(folder)
    tables = [folder / GPS_CSV_NAME] + ([folder.parent / GPS_CSV_NAME] if folder.name in PICTURE_FOLDERS else [])
    table = next((path for path in tables if path.is_file()), None)
    positions = {} if table is None else read_gps_csv(table)
    found: list[Photograph] = []
    depth_like: list[Photograph] = []
    left_out: list[LeftOut] = []
    finder = MaskFinder()
    masks = {path: finder.find(path, path.name) for path in paths}
    for path in paths:
        if path in masks.values():
            continue
        if path.suffix.lower() in UNREAD_SUFFIXES:
            left_out.append(LeftOut(path.name, f"{path.suffix} is not read"))
            continue
        try:
            header = read_photograph_header(path)
        except ScenewiseError as error:
            left_out.append(LeftOut(path.name, str(error).removeprefix(f"{path}: ")))
            continue
        position = positions.get(path.name) if table is not None else read_gps_exif(path)
        picture = Photograph(path.name, path, header.width, header.height, header.camera, header.focal_px, position, masks[path])
        (depth_like if header.is_depth_like else found).append(picture)
    if found:
        left_out += [LeftOut(picture.name, "one channel of 16 bits among colour pictures: a depth map") for picture in depth_like]
    else:
        found = depth_like
    unread = any(path.suffix.lower() in UNREAD_SUFFIXES for path in paths)
    if len(found) < FEWEST_PHOTOGRAPHS:
        raise DataFormatError(
            folder,
            expected=f"at least {FEWEST_PHOTOGRAPHS} photographs ({', '.join(IMAGE_SUFFIXES)}), here or in images/",
            got=f"{len(found)}" + (f"; {_told(left_out)}" if left_out else ""),
            fix=CONVERT_FIX if unread else "name the folder that holds the photographs",
        )
    return Photographs(paths[0].parent, tuple(found), tuple(left_out), table)


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts numbers in names by value.

    >>> sorted(["a10.jpg", "a9.jpg", "b1.jpg"], key=natural_order)
    ['a9.jpg', 'a10.jpg', 'b1.jpg']
    """
    parts = re.split(r"([0-9]+)", name)
    return tuple((1, int(part), part) if index % 2 else (0, 0, part) for index, part in enumerate(parts))


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    suffixes = IMAGE_SUFFIXES + UNREAD_SUFFIXES
    # Names that begin with a dot are what file systems and archives put beside pictures, not pictures.
    entries = (path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith("."))
    files = [path for path in entries if path.is_file()]
    read = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    files = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES or path.stem not in read]
    return sorted(files, key=lambda path: natural_order(path.name))


def _told(left_out: list[LeftOut]) -> str:
    shown = "; ".join(f"{one.name}: {one.reason}" for one in left_out[:_LISTED_AT_MOST])
    more = len(left_out) - _LISTED_AT_MOST
    return shown + (f" and {more} more" if more > 0 else "")

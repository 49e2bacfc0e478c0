"""Captures of whole cities as people have them on disk: what is held out lies in a folder of its own.

Mill 19 and UrbanScene3D as Mega-NeRF (Turki et al. 2022, arXiv 2112.10703) splits them and CityGaussian and Momentum-GS read
them: ``train`` and ``val``, each with its photographs and a COLMAP model, both models in one world.  MatrixCity (Li et al. 2023,
arXiv 2309.16553) likewise in ``aerial/train/block_all`` and ``aerial/test/block_all`` (or ``block_all_test``), or as it is
published: ``aerial/pose/block_all/transforms_train.json`` and ``transforms_test.json``, in units of 100 m.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scenewise.errors import DataFormatError
from scenewise.io.colmap.captures import read_colmap
from scenewise.io.colmap.models import find_colmap_model
from scenewise.io.images import Background
from scenewise.io.splits import SplitChoice, with_split
from scenewise.io.transforms_json import read_transforms
from scenewise.io.views import is_file
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame

CameraLists = Literal["metadata", "pose"]
"""What a data set is published with where there is no COLMAP model: Mega-NeRF's torch files, MatrixCity's lists."""

WHOLE = "block_all"
"""MatrixCity's folder of all its blocks."""
LIMITED_COPIES = ("input_cached", "images_1.2")
"""MatrixCity's pictures at 1600×900, as Momentum-GS and CityGaussian write them."""
PHOTOGRAPHS = ("images", "input", "rgbs")
"""Folders of photographs: COLMAP's undistorter's, MatrixCity's as CityGaussian unpacks it, Mega-NeRF's."""
_LISTS = ("transforms_train.json", "transforms_test.json")
_HELD_OUT_LISTS = ("test.txt", "val.txt")
_OTHER_NAMES = {"sciart": "sci-art", "sci_art": "sci-art"}
_COLMAP_RESULTS = "unpack the COLMAP results that CityGaussian published into it"


@dataclass(frozen=True)
class SplitFolders:
    """The two sides of a capture that was split into folders.

    Attributes:
        train: photographs and model to learn from.
        held_out: the others.
        side: first part of the names of held-out frames: "val" or "test".
    """

    train: Path
    held_out: Path
    side: str


def scene_name(path: Path) -> str:
    """The name under which a scene was published, told by its folder or by one inside.

    >>> scene_name(Path("data/mill19/rubble-pixsfm/train")), scene_name(Path("Sci-Art"))
    ('rubble', 'sci-art')
    >>> scene_name(Path("city/aerial")), scene_name(Path("aerial/train/block_all")), scene_name(Path("aerial/pose/block_A"))
    ('aerial', 'aerial', 'aerial')
    """
    name = _scene_folder(path).absolute().name.lower().removesuffix("-pixsfm")
    return _OTHER_NAMES.get(name, name)


def find_split_folders(path: Path) -> SplitFolders | None:
    """Both sides where both have a COLMAP model; None for any other folder."""
    return next((folders for folders in _places(path) if _has_model(folders.train) and _has_model(folders.held_out)), None)


def read_city(
    path: Path,
    *,
    factor: int | None = None,
    background: Background | None = None,
    limited_copies: bool = False,
    published_as: CameraLists = "metadata",
) -> Capture:
    """Reads a city in whichever of the layouts it is, split as its files are.

    Args:
        path: the scene (``rubble-pixsfm``, ``aerial``), its training folder, MatrixCity's folder of lists, or a folder with one
            COLMAP model and the names of the held-out photographs in ``test.txt`` or ``val.txt``.
        factor: takes ``images_<factor>`` where that folder exists, else the photographs, downscaled on load.
        background: colour behind transparent pixels.
        limited_copies: take MatrixCity's copies of 1600 pixels where there are any and no factor is given.
        published_as: what the data set comes with, for messages.

    Returns:
        Frames named ``train/…`` and ``val/…`` or ``test/…``, the training model's points; of MatrixCity's lists no points.

    Raises:
        DataFormatError: one side, its model, its list or its photographs are missing.
    """
    places = (path, path / "pose" / WHOLE) if published_as == "pose" else ()
    lists = next((place for place in places if any(is_file(place / name) for name in _LISTS)), None)
    folders = None if lists == path else find_split_folders(path)
    if folders is not None:
        return read_split_folders(folders, path, factor=factor, background=background, limited_copies=limited_copies)
    if lists is not None:
        return _read_lists(lists, path, factor, background)
    if _has_model(path) and _scene_folder(path) is path:
        return _read_one_model(path, factor, background)
    raise _what_is_missing(path, published_as)


def read_split_folders(
    folders: SplitFolders,
    root: Path,
    *,
    factor: int | None = None,
    background: Background | None = None,
    limited_copies: bool = False,
) -> Capture:
    """Reads both sides; see :func:`read_city`.

    Args:
        folders: that have models.
        root: the capture's folder, as it was named.
        factor: see :func:`read_city`.
        background: see :func:`read_city`.
        limited_copies: see :func:`read_city`.

    Raises:
        DataFormatError: photographs are missing, or a model is broken.
    """
    train = _read_side(folders.train, factor, background, limited_copies, with_points=True)
    held_out = _read_side(folders.held_out, factor, background, limited_copies, with_points=False)
    test_frames = tuple(_in_folder(folders.side, held_out))
    return Capture(
        root=root,
        source_format="colmap",
        frames=tuple(sorted((*_in_folder("train", train), *test_frames), key=lambda frame: frame.name)),
        points=train.points,
        test_names=frozenset(frame.name for frame in test_frames),
        background=train.background or held_out.background,
    )


def _has_model(folder: Path) -> bool:
    return find_colmap_model(folder) is not None


def _scene_folder(path: Path) -> Path:
    """The folder that holds both sides: ``path``, or one above it where that is the training side or a block of MatrixCity."""
    whole = path.absolute()
    if whole.name == "train":
        return whole.parent
    return whole.parent.parent if _is_block(whole) else path


def _is_block(whole: Path) -> bool:
    return "block" in whole.name and whole.parent.name in {"train", "pose"}


def _places(path: Path) -> Iterator[SplitFolders]:
    """Where the two sides may be, the likeliest first; whether anything is there is another question."""
    scene, whole = _scene_folder(path), path.absolute()
    if not _is_block(whole):
        yield from (SplitFolders(scene / "train", scene / side, side) for side in ("val", "test"))
    block = whole.name if _is_block(whole) else WHOLE
    yield from (SplitFolders(scene / "train" / block, scene / "test" / name, "test") for name in (block, f"{block}_test"))


def _in_folder(folder: str, capture: Capture) -> Iterator[Frame]:
    """MatrixCity counts both sides from 0000.png, so names alone would not tell them apart."""
    return (replace(frame, name=f"{folder}/{frame.name}") for frame in capture.frames)


def _read_side(
    folder: Path, factor: int | None, background: Background | None, limited_copies: bool, *, with_points: bool
) -> Capture:
    copies = (f"images_{factor}",) if factor is not None else LIMITED_COPIES if limited_copies else ()
    photographs = next((name for name in (*copies, *PHOTOGRAPHS) if _has_entries(folder / name)), None)
    if photographs is None:
        raise DataFormatError(
            folder / PHOTOGRAPHS[0],
            expected=f"the photographs of the model, in {', '.join(PHOTOGRAPHS[:-1])} or {PHOTOGRAPHS[-1]}",
            got="an empty folder" if (folder / PHOTOGRAPHS[0]).is_dir() else "no such folder",
            fix="unpack or link them there",
        )
    is_copy = photographs in copies
    capture = read_colmap(
        folder,
        factor=None if is_copy else factor,
        images=photographs,
        background=background,
        any_ending=is_copy,
        with_points=with_points,
    )
    if capture.frames and not capture.frames_with_image:
        raise DataFormatError(
            folder / photographs,
            expected=f"the {len(capture.frames)} photographs of the model",
            got=f"none of them; the first is {capture.frames[0].name}",
            fix="make the smaller copies again" if is_copy else "keep the names that the model lists",
        )
    return capture


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:  # no such folder
        return False


def _read_lists(lists: Path, root: Path, factor: int | None, background: Background | None) -> Capture:
    for name, side in zip(_LISTS, ("train", "test")):
        if not is_file(lists / name):
            raise DataFormatError(
                lists / name,
                expected=f"MatrixCity's list of {'training' if side == 'train' else 'held-out'} pictures",
                got="no such file",
                fix=f"download it, or write it with MatrixCity's scripts/generate_split.py --block_name {lists.absolute().name} "
                f"--set_type {side}",
            )
    # The archives are unpacked into the folder of their block, or into one inside: CityGaussian's scripts make "input".
    capture = read_transforms(lists, factor=factor, background=background, inner_folders=("input", "rgb"))
    if not capture.frames_with_image:
        first = capture.frames[0].image_path if capture.frames else None
        raise DataFormatError(
            lists / _LISTS[0],
            expected="the listed pictures",
            got="none of them" + ("" if first is None else f"; the first would be {first}"),
            fix="unpack the blocks' archives beside the lists: train/block_1.tar into train/block_1",
        )
    return replace(capture, root=root)


def _read_one_model(path: Path, factor: int | None, background: Background | None) -> Capture:
    """One model of all photographs; Gaussian Splatting's own code reads the held-out names from ``sparse/0/test.txt``."""
    model = find_colmap_model(path) or path
    listed = next((folder / name for folder in (path, model) for name in _HELD_OUT_LISTS if is_file(folder / name)), None)
    if listed is None:
        raise DataFormatError(
            path / _HELD_OUT_LISTS[0],
            expected="the names of the held-out photographs, one a line",
            got="no such file, and no val folder beside train",
            fix="list the photographs of the data set's val folder there, or unpack it with its train folder",
        )
    return with_split(read_colmap(path, factor=factor, background=background), SplitChoice(file=listed))


def _what_is_missing(path: Path, published_as: CameraLists) -> DataFormatError:
    """Why nothing could be read: the first thing that is not where it belongs."""
    places = list(_places(path))
    train = next((folders.train for folders in places if _has_model(folders.train)), None)
    if train is None:
        if published_as == "pose":
            return _no_model(places[-1].train, path, published_as)
        train = next((folders.train for folders in places if folders.train.is_dir()), None)
        if train is not None:
            return _no_model(train, path, published_as)
        return DataFormatError(
            places[0].train,
            expected="the photographs to learn from, and their COLMAP model",
            got="no such folder",
            fix="pass the scene's folder, which holds train and val",
        )
    held_out = [folders.held_out for folders in places if folders.train == train]
    there = next((folder for folder in held_out if folder.is_dir()), None)
    if there is not None:
        return _no_model(there, path, published_as)
    return DataFormatError(
        held_out[0],
        expected=f"the held-out photographs, here or in {held_out[1]}",
        got="no such folder",
        fix="unpack that part of the data set too: figures on other photographs compare with nothing",
    )


def _no_model(folder: Path, path: Path, published_as: CameraLists) -> DataFormatError:
    expected = "a COLMAP model in sparse/0 or sparse"
    if published_as == "pose":
        fix = f"{_COLMAP_RESULTS}, or pass MatrixCity's lists, aerial/pose/{WHOLE}, with the pictures unpacked beside them"
        return DataFormatError(folder, expected=expected, got="none", fix=fix)
    metadata = next(iter(sorted((folder / "metadata").glob("*.pt"))), None)
    if metadata is None:
        return DataFormatError(folder, expected=expected, got="none", fix=_COLMAP_RESULTS)
    return DataFormatError(
        folder,
        expected=expected,
        got=f"Mega-NeRF's cameras (metadata/{metadata.name}), which are pickles and never opened by a loader",
        fix=f"{_COLMAP_RESULTS}, or run scenewise convert-cameras {_scene_folder(path)}, which writes models without points",
    )

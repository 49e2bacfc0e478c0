"""Opening a captured folder, whatever tool wrote it."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.orbits import up_from_cameras
from scenewise.io.city_datasets import find_split_folders, read_split_folders
from scenewise.io.co3d.captures import co3d_sequences, find_co3d_sequence, is_co3d_collection, read_co3d
from scenewise.io.colmap.captures import read_colmap
from scenewise.io.colmap.models import find_colmap_model
from scenewise.io.datasets import DATASET_PRESETS
from scenewise.io.films import is_film
from scenewise.io.georeference import georeference_capture
from scenewise.io.images import IMAGE_SUFFIXES, Background
from scenewise.io.listed_files import files_of_the_same_name, is_hidden
from scenewise.io.nuscenes.keyframes import read_nuscenes_capture
from scenewise.io.nuscenes.tables import find_nuscenes_tables
from scenewise.io.placing import placed
from scenewise.io.resizing import downscaled_capture
from scenewise.io.rgbd.captures import find_rgbd_layout, read_rgbd
from scenewise.io.scannet.scenes import find_scannet_layout, read_scannet
from scenewise.io.transforms_json import TRANSFORMS_NAMES, read_transforms
from scenewise.io.transparency import Alpha, usual_meaning, with_alpha
from scenewise.io.views import is_file
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame

ENOUGH_FRAMES = 20
ENOUGH_SHARE = 0.8
COMPANION_FIX = "restore the files, or remove them from the list"
_NAMED_AT_MOST = 5
_AGREED = 0.2  # length of a mean of directions from which they have one in common


def open_capture(
    path: str | Path,
    *,
    preset: str | None = None,
    factor: int | None = None,
    background: Background | None = None,
    images: str | Path | None = None,
    alpha: Alpha | None = None,
) -> Capture:
    """Reads the capture in a folder: COLMAP model (or two, in ``train`` and ``val`` or ``test``), ``transforms.json``, RGB-D
    frames, a ScanNet scene, a nuScenes keyframe or a sequence of CO3D.

    The input's world frame is kept, but for its origin where coordinates are too large for float32
    (:func:`~scenewise.io.placing.placed`).  Where the files do not say which way is up, it is estimated from the cameras; where
    there are GPS positions, the capture is georeferenced.

    Args:
        path: the folder, or a ``transforms.json`` or ``.sens`` file.
        preset: name of a data set whose protocol sets split and size (``DATASET_PRESETS``).
        factor: image folder ``images_<factor>`` where it exists, else images are downscaled by it on load.
        background: colour behind transparent pixels, in [0, 1].
        images: folder of the photographs of a COLMAP model, where it is not found by itself.
        alpha: what transparent pixels are: "mask" leaves them out, "background" takes them for empty space; None takes background
            where one is named or the pictures were rendered (:func:`scenewise.io.transparency.usual_meaning`), else mask.

    Returns:
        A capture with at least two images.  Frames whose image is missing are listed without one; see :func:`usable_frames`.

    Raises:
        DataFormatError: nothing that can be read, broken files, no image or a single one.
    """
    path = Path(path)
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
        raise DataFormatError(path, expected="a folder with a capture", got="no such folder", fix="check the path")
    if factor is not None and factor < 1:
        raise DataFormatError(path, "factor", expected="1, 2, 4 …", got=factor)
    if preset is not None:
        if preset not in DATASET_PRESETS:
            raise DataFormatError(path, "preset", expected=f"one of {', '.join(DATASET_PRESETS)}", got=preset)
        capture = DATASET_PRESETS[preset].open(path, factor=factor, background=background)
    else:
        capture = _detected(path, factor, background, images)
    _check_has_images(capture)
    capture = with_alpha(capture, alpha or ("background" if background is not None else usual_meaning(capture)))
    capture = placed(capture)
    if capture.georeference is None and capture.scale == "arbitrary":
        capture = replace(capture, georeference=georeference_capture(capture.root, capture.frames))
    if capture.up_in_world is None:
        capture = replace(capture, up_in_world=estimated_up(capture))
    return capture


def _detected(path: Path, factor: int | None, background: Background | None, images: str | Path | None) -> Capture:
    if find_scannet_layout(path) is not None:  # also a .sens file
        capture = read_scannet(path, background=background).capture
        return capture if factor is None else downscaled_capture(capture, factor)
    if path.is_file():
        if is_film(path):
            fix = f"run scenewise poses {path} --out CAPTURE, which chooses frames and finds their poses, and pass CAPTURE"
            raise DataFormatError(path, expected="a folder or a transforms.json", got="a film without poses", fix=fix)
        if path.suffix.lower() != ".json":
            raise DataFormatError(path, expected="a folder or a transforms.json", got="another file", fix="pass the folder")
        return read_transforms(path, factor=factor, background=background)
    if find_rgbd_layout(path) is not None:
        capture = read_rgbd(path, background=background)
        return capture if factor is None else downscaled_capture(capture, factor)
    if find_nuscenes_tables(path) is not None:
        capture = read_nuscenes_capture(path, background=background)
        return capture if factor is None else downscaled_capture(capture, factor)
    if find_co3d_sequence(path) is not None:
        capture = read_co3d(path, background=background)
        return capture if factor is None else downscaled_capture(capture, factor)
    model = find_colmap_model(path)
    has_transforms = any(is_file(path / name) for name in TRANSFORMS_NAMES)
    # nerfstudio keeps COLMAP's run under colmap/, in another frame than its transforms.json; elsewhere the model is the original.
    if model is not None and not (has_transforms and (path / "colmap") in (model, *model.parents)):
        return read_colmap(path, factor=factor, background=background, images=images)
    if has_transforms:
        return read_transforms(path, factor=factor, background=background)
    split_folders = find_split_folders(path)
    if split_folders is not None:
        return read_split_folders(split_folders, path, factor=factor, background=background)
    if is_co3d_collection(path):
        sequences = co3d_sequences(path)
        raise DataFormatError(
            path,
            expected="the folder of one sequence of CO3D",
            got=f"{len(sequences)} sequences",
            fix=f"name one of them, for example {sequences[0]}" if sequences else "unpack the sequences beside the list",
        )
    pictures = sum(
        entry.name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(entry.name)
        for folder in (path, path / "images")
        for entry in _entries(folder)
    )
    raise DataFormatError(
        path,
        expected="one of: a COLMAP model (cameras.bin, images.bin or .txt in the folder, sparse/0 or sparse); "
        + " or ".join(TRANSFORMS_NAMES)
        + "; RGB-D frames (frame-000000.pose.txt … or rgb.txt with groundtruth.txt)"
        + "; ScanNet (color/, pose/ and intrinsic/, or a .sens stream); nuScenes tables (v1.0-…/sample_data.json)"
        + "; a sequence of CO3D (images/, with frame_annotations.jgz beside the folder)",
        got=f"{pictures} images without camera poses" if pictures else "none of them",
        fix=f"run scenewise poses {path} --out CAPTURE, which finds the poses, and pass CAPTURE; or compute them with COLMAP"
        if pictures
        else "pass the folder that holds the capture",
    )


def is_capture(path: Path) -> bool:
    """Whether a folder holds files of a layout that :func:`open_capture` reads; they may still be damaged."""
    has_transforms = any(is_file(path / name) for name in TRANSFORMS_NAMES)
    return (
        has_transforms
        or find_rgbd_layout(path) is not None
        or find_scannet_layout(path) is not None
        or find_nuscenes_tables(path) is not None
        or find_co3d_sequence(path) is not None
        or find_colmap_model(path) is not None
        or find_split_folders(path) is not None
    )


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    return list(os.scandir(folder)) if folder.is_dir() else []


def _check_has_images(capture: Capture) -> None:
    """Two images are the least that anything can be reconstructed from."""
    found = len(capture.frames_with_image)
    if found >= 2:
        return
    if not capture.frames:
        raise DataFormatError(capture.root, expected="at least 2 images", got="an empty list of frames", fix="list the images")
    fix = "put the images where the list says" if found == 0 else "add photographs from other places"
    raise DataFormatError(
        capture.root,
        expected="at least 2 images",
        got=f"{found} of {len(capture.frames)} listed" + (f"; missing {_named(capture.missing_frames)}" if found < 2 else ""),
        fix=fix,
    )


def _named(frames: tuple[Frame, ...]) -> str:
    paths = ", ".join(f"{frame.image_path}{_hint(frame)}" for frame in frames[:_NAMED_AT_MOST])
    return paths + (f" and {len(frames) - _NAMED_AT_MOST} more" if len(frames) > _NAMED_AT_MOST else "") if frames else "none"


def _hint(frame: Frame) -> str:
    """Which file of nearly the same name is there instead."""
    there = () if frame.image_path is None else files_of_the_same_name(frame.image_path)
    return f" ({', '.join(there[:3])} is there)" if there else ""


def require_training_images(capture: Capture) -> None:
    """Refuses a capture whose split leaves nothing to learn from.

    Raises:
        DataFormatError: no training image.
    """
    if not capture.train_frames:
        raise DataFormatError(
            capture.root,
            expected="at least two training images",
            got=f"0 training images: the split holds out all {len(capture.test_frames)}",
            fix="correct train_filenames and test_filenames, or the preset",
        )


def usable_frames(capture: Capture, strict: bool = False) -> tuple[Frame, ...]:
    """The frames to reconstruct from when some of those listed have no image.

    Args:
        capture: as opened.
        strict: accept no missing image, mask or depth map.

    Returns:
        All frames with an image.  A warning names the missing ones while at least 20 images, or 80 % of those listed, remain;
        another one names masks and depth maps that are listed and missing.

    Raises:
        DataFormatError: fewer remain, or ``strict`` and any is missing; names the first missing paths.
    """
    for kind, paths in missing_companions(capture):
        if strict:
            raise DataFormatError(
                capture.root, expected=f"every listed {kind}", got=_missing_text(kind, paths), fix=COMPANION_FIX
            )
        warnings.warn(f"{capture.root}: {_missing_text(kind, paths)}; {COMPANION_FIX}", CaptureWarning, stacklevel=2)
    missing, remaining = capture.missing_frames, capture.frames_with_image
    if not missing:
        return remaining
    enough = len(remaining) >= 2 and (len(remaining) >= ENOUGH_FRAMES or len(remaining) >= ENOUGH_SHARE * len(capture.frames))
    if strict or not enough:
        raise DataFormatError(
            capture.root,
            expected="every listed image" if strict else f"at least {ENOUGH_FRAMES} images or {ENOUGH_SHARE:.0%} of those listed",
            got=f"{len(remaining)} of {len(capture.frames)}; missing {_named(missing)}",
            fix="restore the images, or remove them from the list",
        )
    warnings.warn(
        f"{capture.root}: {len(missing)} of {len(capture.frames)} listed images are missing and left out: {_named(missing)}",
        CaptureWarning,
        stacklevel=2,
    )
    return remaining


def missing_companions(capture: Capture) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """("mask" or "depth map", paths) of what frames with an image list and what does not exist."""
    frames = capture.frames_with_image
    masks = tuple(frame.missing_mask for frame in frames if frame.missing_mask is not None)
    depths = tuple(frame.missing_depth for frame in frames if frame.missing_depth is not None)
    return tuple((kind, paths) for kind, paths in (("mask", masks), ("depth map", depths)) if paths)


def _missing_text(kind: str, paths: tuple[Path, ...]) -> str:
    return f"{len(paths)} listed {kind}{'s are' if len(paths) > 1 else ' is'} missing: {named_paths(paths)}"


def named_paths(paths: Sequence[Path]) -> str:
    """The first few of them, and how many more there are."""
    shown = ", ".join(str(path) for path in paths[:_NAMED_AT_MOST])
    return shown + (f" and {len(paths) - _NAMED_AT_MOST} more" if len(paths) > _NAMED_AT_MOST else "")


def estimated_up(capture: Capture) -> Float64[np.ndarray, "3"]:
    """A guess at the direction away from the ground.

    A georeferenced capture knows it.  Otherwise it is told from the cameras' own axes
    (:func:`~scenewise.geometry.orbits.up_from_cameras`); where their up (−Y) cancels out, as in nadir flights to and fro, it is
    the direction the cameras look away from.
    """
    if capture.georeference is not None:
        return np.ascontiguousarray(capture.georeference.rotation[2])
    poses = np.stack([frame.camera.camera_from_world.numpy()[:3, :3] for frame in capture.frames])
    if np.linalg.norm(poses[:, 1].mean(axis=0)) > _AGREED:
        return up_from_cameras(np.stack([frame.camera.world_from_camera.numpy() for frame in capture.frames]))
    away = -poses[:, 2].mean(axis=0)
    length = float(np.linalg.norm(away))
    if length > _AGREED:
        return away / length
    return -poses[0, 1] / np.linalg.norm(poses[0, 1])

"""COLMAP models opened as captures."""

import warnings
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.colmap.models import PLACES, FoundModel, largest_first, model_folders, read_cameras, read_images, read_points
from scenewise.io.colmap.records import ColmapImage
from scenewise.io.images import Background
from scenewise.io.listed_files import ListedFiles
from scenewise.io.resizing import downscaled
from scenewise.io.views import ListedView, frames_of_views, is_file, safe_name
from scenewise.scenes.captures import Capture, every_nth_name

_HOLDOUT = 8


def read_colmap(
    path: Path,
    *,
    factor: int | None = None,
    images: str | Path | None = None,
    background: Background | None = None,
    any_ending: bool = False,
    with_points: bool = True,
) -> Capture:
    """Reads a COLMAP model and lists its photographs.

    Args:
        path: the capture (with ``sparse/0`` or ``sparse`` inside) or the model's folder itself.
        factor: takes ``images_<factor>`` where that folder exists, else the full images, downscaled on load.
        images: folder of the photographs, absolute or relative to ``path``; looked for when None.
        background: colour behind transparent pixels.
        any_ending: take files of other endings than listed too: who makes smaller copies of JPEGs often writes PNG.
        with_points: read the model's points.

    Returns:
        A capture of arbitrary scale with every 8th photograph held out.

    Raises:
        DataFormatError: no model there, a broken file, an unknown camera model, a reference to a camera that does not exist.
    """
    folders = model_folders(path)
    if not folders:
        raise DataFormatError(
            path,
            expected=f"cameras.bin and images.bin (or .txt) in {PLACES}",
            got="neither",
            fix="run COLMAP's mapper, or pass the folder that holds its model",
        )
    model = folders[0]
    if len(folders) > 1:
        models = largest_first(folders)
        model = models[0].folder
        _warn_of_others(path, models)
    suffix = ".bin" if is_file(model / "cameras.bin") and is_file(model / "images.bin") else ".txt"
    lens_cameras = read_cameras(model / f"cameras{suffix}")
    listing = model / f"images{suffix}"
    listed = read_images(listing)
    folder, downscale = _image_folder(path, model, [safe_name(image.name) for image in listed], images, factor)
    files = ListedFiles(folder)
    path_of = files.path_of_any_ending if any_ending else files.path
    views = []
    for image in listed:
        if image.camera_id not in lens_cameras:
            raise DataFormatError(
                listing,
                f"image {image.image_id} ({image.name})",
                expected=f"a camera of cameras{suffix}",
                got=f"camera {image.camera_id}",
                fix="the files are of different models; export both again",
            )
        lens_camera = lens_cameras[image.camera_id]
        name = safe_name(image.name)
        views.append(ListedView(name, path_of(name), lens_camera, f"image {image.image_id}"))
    frames, background_in_effect = frames_of_views(listing, views, _poses(listing, listed), background)
    if downscale is not None:
        frames = tuple(downscaled(frame, downscale) for frame in frames)
    points_path = next(
        (model / name for name in (f"points3D{suffix}", "points3D.bin", "points3D.txt", "points3D.ply") if is_file(model / name)),
        None,
    )
    return Capture(
        root=path,
        source_format="colmap",
        frames=frames,
        points=None if points_path is None or not with_points else read_points(points_path),
        test_names=every_nth_name(frames, _HOLDOUT),
        background=background_in_effect,
    )


def _warn_of_others(path: Path, models: tuple[FoundModel, ...]) -> None:
    """A word on what is not reconstructed: photographs in other models stand in no known relation to those of the first."""
    said = [f"{model.folder.relative_to(path).as_posix()} with {model.images}" for model in models]
    warnings.warn(
        CaptureWarning(
            f"{path}: {len(models)} COLMAP models; took the one with most images, {said[0]}, and left out {', '.join(said[1:])}",
            f"name {models[1].folder} to take that, or join them with COLMAP's model_merger",
        ),
        stacklevel=3,
    )


def _poses(listing: Path, images: list[ColmapImage]) -> Float64[Tensor, "n 4 4"]:
    quats = torch.tensor([image.quat for image in images], dtype=torch.float64).reshape(-1, 4)
    lengths = quats.norm(dim=-1)
    for index in torch.nonzero(~((lengths > 1e-6) & (lengths < 1e6)))[:1, 0].tolist():
        image = images[index]
        raise DataFormatError(
            listing,
            f"image {image.image_id} ({image.name})",
            expected="a rotation quaternion",
            got=list(image.quat),
            fix="remove the image",
        )
    poses = torch.eye(4, dtype=torch.float64).repeat(len(images), 1, 1)
    poses[:, :3, :3] = rotation_from_quat(quats)
    poses[:, :3, 3] = torch.tensor([image.translation for image in images], dtype=torch.float64).reshape(-1, 3)
    return poses


def _image_folder(
    path: Path, model: Path, names: list[str], images: str | Path | None, factor: int | None
) -> tuple[Path, int | None]:
    """Folder of the photographs, and the factor that is left to apply on load."""
    if images is not None:
        folder = path / images
        if not folder.is_dir():
            raise DataFormatError(folder, expected="the folder of the images", got="no such folder", fix="check --images")
        return folder, factor
    bases = [path] + [base for base in (model, *list(model.parents)[:3]) if base != path]
    wanted = ([(f"images_{factor}", None)] if factor not in (None, 1) else []) + [
        ("images", factor),
        ("input", factor),
        (".", factor),
    ]
    probes = names[:: max(1, len(names) // 16)]  # a few from all over: single images may be missing
    for is_there in (lambda files, name: is_file(files.root / name), lambda files, name: is_file(files.path(name))):
        for name, left in wanted:
            for base in bases:
                files = ListedFiles(base / name if name != "." else base)
                if any(is_there(files, probe) for probe in probes) or (
                    name != "." and files.root.is_dir() and any(is_there(files, listed) for listed in names)
                ):
                    return files.root, left
    return path / "images", factor

"""COLMAP models opened as captures."""

from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.colmap.models import MODEL_FOLDERS, find_colmap_model, read_cameras, read_images, read_points
from scenewise.io.colmap.records import ColmapImage
from scenewise.io.images import Background
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
) -> Capture:
    """Reads a COLMAP model and lists its photographs.

    Args:
        path: the capture (with ``sparse/0`` or ``sparse`` inside) or the model's folder itself.
        factor: takes ``images_<factor>`` where that folder exists, else the full images, downscaled on load.
        images: folder of the photographs, absolute or relative to ``path``; looked for when None.
        background: colour behind transparent pixels.

    Returns:
        A capture of arbitrary scale with every 8th photograph held out.

    Raises:
        DataFormatError: no model there, a broken file, an unknown camera model, a reference to a camera that does not exist.
    """
    model = find_colmap_model(path)
    if model is None:
        raise DataFormatError(
            path,
            expected="cameras.bin and images.bin (or .txt) in " + ", ".join(MODEL_FOLDERS),
            got="neither",
            fix="run COLMAP's mapper, or pass the folder that holds its model",
        )
    suffix = ".bin" if is_file(model / "cameras.bin") and is_file(model / "images.bin") else ".txt"
    lens_cameras = read_cameras(model / f"cameras{suffix}")
    listing = model / f"images{suffix}"
    listed = read_images(listing)
    folder, downscale = _image_folder(path, model, [safe_name(image.name) for image in listed], images, factor)
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
        views.append(ListedView(name, folder / name, lens_camera, f"image {image.image_id}"))
    frames, background_in_effect = frames_of_views(listing, views, _poses(listing, listed), background)
    if downscale is not None:
        frames = tuple(downscaled(frame, downscale) for frame in frames)
    points_path = next(
        (model / name for name in (f"points3D{suffix}", "points3D.bin", "points3D.txt") if is_file(model / name)), None
    )
    return Capture(
        root=path,
        source_format="colmap",
        frames=frames,
        points=None if points_path is None else read_points(points_path),
        test_names=every_nth_name(frames, _HOLDOUT),
        background=background_in_effect,
    )


def _poses(listing: Path, images: list[ColmapImage]) -> Float64[Tensor, "n 4 4"]:
    quats = torch.tensor([image.quat for image in images], dtype=torch.float64).reshape(-1, 4)
    lengths = quats.norm(dim=-1)
    for index in torch.nonzero(~((lengths > 1e-6) & (lengths < 1e6)))[:1, 0].tolist():
        image = images[index]
        raise DataFormatError(
            listing, f"image {image.image_id} ({image.name})", expected="a rotation quaternion", got=list(image.quat)
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
    for name, left in wanted:
        for base in bases:
            folder = base / name if name != "." else base
            if any(is_file(folder / probe) for probe in probes) or (
                name != "." and folder.is_dir() and any(is_file(folder / listed) for listed in names)
            ):
                return folder, left
    return path / "images", factor

"""Cameras of Mega-NeRF's data sets (Turki et al. 2022, arXiv 2112.10703) as COLMAP models.

``train`` and ``val/metadata/NAME.pt`` hold W, H, intrinsics [fx, fy, cx, cy] and c2w [3, 4] of the undistorted ``rgbs/NAME.jpg``;
``coordinates.pt`` holds origin_drb and pose_scale_factor.  The columns of c2w are the camera's right, up and back and its place,
all in a world of down, right and back, the place as (metres − origin_drb) / pose_scale_factor.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.transforms import OPENCV_FROM_OPENGL
from scenewise.io.atomic import atomic_folder
from scenewise.io.city_datasets import PHOTOGRAPHS
from scenewise.io.colmap.models import find_colmap_model
from scenewise.io.colmap.records import checked_lens
from scenewise.io.colmap.writing import write_colmap_model
from scenewise.io.listed_files import ListedFiles
from scenewise.io.torch_files import read_torch_file
from scenewise.io.views import rigid_inverse

SIDES = ("train", "val")
_RDF_FROM_DRB = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)


def convert_mega_nerf(scene: Path, *, replace: bool = False) -> dict[str, int]:
    """Writes ``sparse/0`` of both sides, in metres, with x right, y down and z forward in the world: the frame that
    CityGaussian's COLMAP models and Momentum-GS's boxes are in.

    Args:
        scene: folder with ``coordinates.pt``, ``train`` and ``val``.
        replace: whether models that are there may be replaced.

    Returns:
        Number of photographs of each side.

    Raises:
        DataFormatError: a file is missing, holds more than tensors and numbers, or numbers of another shape; or a side has a
            model and ``replace`` is False.
        ResourceError: a model cannot be written.
    """
    place = scene / "coordinates.pt"
    coordinates = _read(place)
    origin, scale = _numbers(place, coordinates, "origin_drb", (3,)), _numbers(place, coordinates, "pose_scale_factor", ())
    cameras = {side: _cameras(scene / side, origin, scale) for side in SIDES}  # all of them before anything is written
    for side in SIDES:
        model = None if replace else find_colmap_model(scene / side)
        if model is not None:
            raise DataFormatError(model, expected="no COLMAP model yet", got="one", fix="keep it, or replace it with --overwrite")
    for side, (names, lenses, camera_from_world) in cameras.items():
        with atomic_folder(scene / side / "sparse/0", replace=replace) as temporary:
            write_colmap_model(temporary, names, lenses, camera_from_world)
    return {side: len(names) for side, (names, _, _) in cameras.items()}


def _cameras(
    folder: Path, origin: Float64[Tensor, "3"], scale: Float64[Tensor, ""]
) -> tuple[list[str], list[LensCamera], Float64[Tensor, "n 4 4"]]:
    paths = sorted((folder / "metadata").glob("*.pt"))
    if not paths:
        raise DataFormatError(
            folder / "metadata", expected="cameras, a .pt file each", got="none", fix="pass the folder that holds train and val"
        )
    files = [ListedFiles(folder / name) for name in PHOTOGRAPHS if (folder / name).is_dir()]
    names, lenses = [], []
    poses = torch.zeros(len(paths), 4, 4, dtype=torch.float64)
    for path, pose in zip(paths, poses):
        record = _read(path)
        focal_and_centre = _numbers(path, record, "intrinsics", (4,)).tolist()
        width, height = (round(float(_numbers(path, record, key, ()))) for key in ("W", "H"))
        lenses.append(checked_lens(path, "intrinsics", "PINHOLE", tuple(focal_and_centre), width, height))
        c2w = _numbers(path, record, "c2w", (3, 4))
        pose[:3, :3] = _RDF_FROM_DRB @ c2w[:, :3]
        pose[:3, 3] = _RDF_FROM_DRB @ (c2w[:, 3] * scale + origin)
        pose[3, 3] = 1.0
        found = next((found for listed in files for found in listed.with_ending(path.stem)), None)
        names.append(f"{path.stem}.jpg" if found is None else found.name)
    return names, lenses, rigid_inverse(poses @ torch.from_numpy(OPENCV_FROM_OPENGL))


def _read(path: Path) -> Mapping[str, Any]:
    fix = "download it again; nothing else in it is run"
    content = read_torch_file(path, expected="a torch file of tensors and numbers", fix=fix)
    if not isinstance(content, Mapping):
        raise DataFormatError(path, expected="named tensors and numbers", got=type(content).__name__)
    return content


def _numbers(path: Path, record: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> Float64[Tensor, "*shape"]:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise DataFormatError(path, key, expected=_shape_text(shape), got=type(value).__name__, fix="download it again")
    numbers = torch.as_tensor(value).double()
    if math.prod(numbers.shape) != math.prod(shape) or (numbers.ndim > 1 and tuple(numbers.shape) != shape):
        raise DataFormatError(path, key, expected=_shape_text(shape), got=f"shape {list(numbers.shape)}", fix="download it again")
    if not bool(torch.isfinite(numbers).all()):
        raise DataFormatError(path, key, expected="finite numbers", got="NaN or Inf", fix="download it again")
    return numbers.reshape(shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"{'×'.join(map(str, shape))} numbers" if shape else "a number"

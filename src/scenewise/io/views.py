"""From what a reader found listed to lazy frames: the part all readers share."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.finite_points import FARTHEST, is_near
from scenewise.io.frame_loaders import CoverageLoader, DepthLoader, ImageLoader, MaskLoader
from scenewise.io.images import Background, read_image_header
from scenewise.io.lens_files import camera_of, lens_camera_or_error, match_lens_to_image
from scenewise.io.masks import MaskFinder
from scenewise.io.registered_depth import DepthCamera, RegisteredDepthLoader
from scenewise.scenes.frames import DepthMap, Frame

MAX_IMAGE_SIDE = 1 << 20
_SUFFIXES_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
_ALPHA_PROBES = 16


@dataclass(frozen=True)
class ListedView:
    """A view as a capture lists it, whether or not its files exist.

    Attributes:
        name: of the frame to be.
        image_path: where the image should be.
        lens_camera: the lens as calibrated; image files may be a resized copy.
        place: the record in the listing file, for messages.
        depth_path: 16-bit depth map, or None.
        mask_path: pixels to use as the list names them; None looks where tools put masks (:mod:`scenewise.io.masks`).
        units_per_depth_code: world units per stored depth step.
        depth_camera: that measured depth; None where depth covers the photograph.
    """

    name: str
    image_path: Path
    lens_camera: LensCamera
    place: str
    depth_path: Path | None = None
    mask_path: Path | None = None
    units_per_depth_code: float = 0.001
    depth_camera: DepthCamera | None = None


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; False also for names that no file can have (too long, NUL inside)."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a name that is too long


def safe_name(listed: str) -> str:
    """The listed path without what leads out of the capture (root, drive, ``..``): results are named after it.

    >>> safe_name("../images/./a b.jpg"), safe_name("C:\\\\scans\\\\1.png")
    ('images/a b.jpg', 'scans/1.png')
    """
    parts = PurePosixPath(listed.replace("\\", "/")).parts
    return "/".join(part for part in parts if part not in {"/", "//", "..", "."} and not (len(part) == 2 and part[1] == ":"))


def check_text(path: Path, place: str, value: str) -> str:
    """``value`` if it can name a file.

    Raises:
        DataFormatError: empty, or with control characters.
    """
    if not value.strip() or any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in value):
        raise DataFormatError(path, place, expected="a file name", got=repr(value[:80]), fix="name the file")
    return value


def frames_of_views(
    listing: Path,
    views: Sequence[ListedView],
    camera_from_world: Float64[Tensor, "n 4 4"],
    background: Background | None,
) -> tuple[tuple[Frame, ...], Background | None]:
    """Lazy frames in file-name order.

    A lens is brought to the resolution of its images by the header of the first that exists; every image is checked against it
    when decoded.  Masks and depth maps that are listed and do not exist are named by their frames.

    Args:
        listing: file the views are listed in, for messages.
        views: in the file's order.
        camera_from_world: poses in the same order.
        background: colour behind transparent pixels; None takes white where images have transparency.

    Returns:
        The frames, and the background in effect (None when no image has transparency).

    Raises:
        DataFormatError: a pose is not rigid or not finite, names repeat, an image header is broken or of other proportions.
    """
    seen: dict[str, str] = {}
    for view in views:
        check_text(listing, view.place, view.name)
        if view.name in seen:
            raise DataFormatError(
                listing,
                view.place,
                expected="each image once",
                got=f"{view.name} again, first in {seen[view.name]}",
                fix="remove one of them",
            )
        seen[view.name] = view.place
    _require_near(listing, views, camera_from_world)
    matched: dict[LensCamera, LensCamera] = {}
    has_alpha = False
    exists = [is_file(view.image_path) for view in views]
    for view, found in zip(views, exists):
        if found and view.lens_camera not in matched:
            header = read_image_header(view.image_path)
            lens_camera = match_lens_to_image(view.lens_camera, header.width, header.height, view.image_path)
            if lens_camera is not view.lens_camera:
                lens_camera = lens_camera_or_error(
                    listing, view.place, lens_camera.model, lens_camera.params, header.width, header.height
                )
            matched[view.lens_camera] = lens_camera
            has_alpha = has_alpha or header.has_alpha
    has_alpha = has_alpha or _any_alpha([view.image_path for view, found in zip(views, exists) if found])
    in_effect = (background or (1.0, 1.0, 1.0)) if has_alpha else None
    masks = MaskFinder()
    frames = []
    for view, found, pose in zip(views, exists, camera_from_world):
        lens_camera = matched.get(view.lens_camera, view.lens_camera)
        try:
            camera = camera_of(lens_camera, pose)
        except ConventionError as error:
            raise DataFormatError(listing, f"{view.place} ({view.name}): {error}") from error
        listed_mask, depth_path = view.mask_path, view.depth_path
        mask_path = masks.find(view.image_path, view.name) if listed_mask is None else _existing(listed_mask)
        has_depth = depth_path is not None and is_file(depth_path)
        frames.append(
            Frame(
                name=view.name,
                camera=camera,
                load_image=ImageLoader(view.image_path, lens_camera, in_effect) if found else None,
                load_depth=_depth_loader(view, lens_camera) if has_depth else None,
                load_mask=None if mask_path is None else MaskLoader(mask_path, lens_camera),
                image_path=view.image_path,
                load_coverage=CoverageLoader(view.image_path, lens_camera) if found and has_alpha else None,
                mask_path=mask_path,
                is_undistorted=not lens_camera.is_pinhole,
                missing_mask=listed_mask if mask_path is None else None,
                missing_depth=None if has_depth else depth_path,
                depth_path=depth_path if has_depth else None,
            )
        )
    return tuple(sorted(frames, key=lambda frame: frame.name)), in_effect


def _depth_loader(view: ListedView, lens_camera: LensCamera) -> Callable[[], DepthMap] | None:
    if view.depth_path is None:
        return None
    if view.depth_camera is None:
        return DepthLoader(view.depth_path, lens_camera, view.units_per_depth_code)
    return RegisteredDepthLoader(view.depth_path, view.depth_camera, lens_camera, view.units_per_depth_code)


def _require_near(listing: Path, views: Sequence[ListedView], camera_from_world: Float64[Tensor, "n 4 4"]) -> None:
    """Refuses the first camera that stands beyond every scene."""
    near = is_near(camera_from_world[:, :3, 3].numpy()).all(axis=1)
    for index in np.flatnonzero(~near)[:1].tolist():
        raise DataFormatError(
            listing,
            f"{views[index].place} ({views[index].name})",
            expected=f"a camera within {FARTHEST:.0e} of the origin",
            got=f"one at a distance of {float(camera_from_world[index, :3, 3].norm()):.3g}",
            fix="correct or remove the frame",
        )


def _existing(path: Path) -> Path | None:
    return path if is_file(path) else None


def _any_alpha(paths: Sequence[Path]) -> bool:
    """Whether some of these pictures know transparency; a few from all over are looked at."""
    paths = [path for path in paths if path.suffix.lower() in _SUFFIXES_WITH_ALPHA]
    return any(read_image_header(path).has_alpha for path in paths[:: max(1, len(paths) // _ALPHA_PROBES)])


def rigid_inverse(world_from_camera: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 4 4"]:
    """Inverses of poses without solving: [Rᵀ, −Rᵀt].  A block that is not a rotation stays recognisable as such."""
    inverse = torch.zeros_like(world_from_camera)
    rotation_t = world_from_camera[:, :3, :3].mT
    inverse[:, :3, :3] = rotation_t
    inverse[:, :3, 3] = -(rotation_t @ world_from_camera[:, :3, 3:])[..., 0]
    inverse[:, 3, 3] = 1.0
    return inverse

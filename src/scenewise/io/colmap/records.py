"""What a COLMAP model says of a photograph and of a camera."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.views import MAX_IMAGE_SIDE


@dataclass(frozen=True)
class ColmapImage:
    """One registered photograph.

    Attributes:
        image_id: COLMAP's number.
        quat: camera_from_world rotation, wxyz.
        translation: camera_from_world, world units.
        camera_id: key of its camera.
        name: path below the image folder.
    """

    image_id: int
    quat: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera_id: int
    name: str


def checked_lens(path: Path, place: str, model: str, params: tuple[float, ...], width: int, height: int) -> LensCamera:
    """A lens of a model, with an image size that can be.

    Raises:
        DataFormatError: a size or parameters that no camera has.
    """
    if not (1 <= width <= MAX_IMAGE_SIDE and 1 <= height <= MAX_IMAGE_SIDE):
        expected = f"an image size of 1 … {MAX_IMAGE_SIDE} pixels"
        raise DataFormatError(path, place, expected=expected, got=f"{width}×{height}", fix="export the model again")
    return lens_camera_or_error(path, place, model, params, width, height)

"""What a frame holds in place of its pixels: loaders of photographs, depth maps and masks, which undo the lens."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.scenes.frames import CoverageU8, DepthMap, ImageU8, PixelMask

if TYPE_CHECKING:
    from PIL import Image
from scenewise.io.depth_files import distances_of, read_depth_values
from scenewise.io.images import Background, alpha_of, rgb_over, with_image
from scenewise.io.lens_files import has_proportions_of
from scenewise.io.undistorted_pixels import SAMPLING_MAPS, resample_bilinear, sample_nearest


@dataclass(frozen=True)
class ImageLoader:
    """Decodes one photograph as the undistorted pinhole image of its lens.

    Attributes:
        path: the file.
        lens_camera: the lens at the file's resolution.
        background: colour put behind transparent pixels, in [0, 1]; white when None.
    """

    path: Path
    lens_camera: LensCamera
    background: Background | None = None

    def __call__(self) -> ImageU8:
        """sRGB pixels of exactly the undistorted camera's size.

        Raises:
            DataFormatError: missing, truncated, not an image, or of another size than the camera.
        """
        image_u8 = with_image(self.path, lambda image: rgb_over(_of_size(image, self.path, self.lens_camera), self.background))
        if self.lens_camera.is_pinhole:
            return image_u8
        return resample_bilinear(image_u8, SAMPLING_MAPS.get(self.lens_camera))


@dataclass(frozen=True)
class DepthLoader:
    """Decodes a depth map of 16-bit codes, or of floating-point distances, onto the pixel grid of the undistorted image.

    The map may have another resolution than the photograph; it is taken to cover the same field.  Values are read, never
    interpolated: between two surfaces there is nothing.

    Attributes:
        path: the file.
        lens_camera: the lens at the photograph's resolution.
        units_per_code: world units per stored step (0.001 for millimetres in a metric world); floats are in world units.
        missing_code: value that, like 0, stands for "no measurement".
    """

    path: Path
    lens_camera: LensCamera
    units_per_code: float = 0.001
    missing_code: int = 65535

    def __call__(self) -> DepthMap:
        """Depth along +Z in world units, 0 = no measurement.

        Raises:
            DataFormatError: missing, truncated, or of another kind.
        """
        depth = distances_of(read_depth_values(self.path), self.units_per_code, self.missing_code)
        return sample_nearest(depth, self.lens_camera)


@dataclass(frozen=True)
class CoverageLoader:
    """Decodes how opaque a photograph is, onto the pixel grid of the undistorted image.

    Attributes:
        path: the photograph.
        lens_camera: the lens at the file's resolution.
    """

    path: Path
    lens_camera: LensCamera

    def __call__(self) -> CoverageU8:
        """255 where a pixel is opaque; all of them where the file knows no transparency.

        Raises:
            DataFormatError: as for the photograph itself.
        """
        alpha_u8 = with_image(self.path, lambda image: alpha_of(_of_size(image, self.path, self.lens_camera)))
        if self.lens_camera.is_pinhole:
            return alpha_u8
        return resample_bilinear(np.repeat(alpha_u8[..., None], 3, axis=-1), SAMPLING_MAPS.get(self.lens_camera))[..., 0]


@dataclass(frozen=True)
class MaskLoader:
    """Decodes a mask (above a value = use, 0 unless said otherwise) onto the pixel grid of the undistorted image.

    A mask of another size but the same proportions is resized, each pixel taking the nearest value.  A mask that leaves nothing
    of the picture is warned about.

    Attributes:
        path: the file.
        lens_camera: the lens at the photograph's resolution.
        above: stored values of 0 to 255 above this one are used; 127 where they are probabilities.
    """

    path: Path
    lens_camera: LensCamera
    above: int = 0

    def __call__(self) -> PixelMask:
        """True where a pixel may be used.

        Raises:
            DataFormatError: missing, truncated, or of other proportions than its photograph.
        """
        values = with_image(self.path, lambda image: np.asarray(image.convert("L")))
        height, width = values.shape
        if not has_proportions_of(self.lens_camera, width, height):
            raise DataFormatError(
                self.path,
                "mask size",
                expected=f"{self.lens_camera.width}×{self.lens_camera.height} like its photograph, or a copy at another scale",
                got=f"{width}×{height}",
                fix="make the mask of this photograph again, unrotated and uncropped",
            )
        used = values > self.above
        if not used.any():
            warn_of_empty_mask(self.path)
        return sample_nearest(used, self.lens_camera)


def warn_of_empty_mask(path: Path) -> None:
    """A CaptureWarning that names a mask, or a photograph, that leaves nothing to learn from."""
    warnings.warn(f"{path}: the mask is all black, so nothing of this photograph is used", CaptureWarning, stacklevel=3)


def _of_size(image: "Image.Image", path: Path, lens_camera: LensCamera) -> "Image.Image":
    if image.size != (lens_camera.width, lens_camera.height):
        raise DataFormatError(
            path,
            "image size",
            expected=f"{lens_camera.width}×{lens_camera.height} like its camera",
            got=f"{image.width}×{image.height}",
            fix="use the images that the poses were computed from, all resized alike",
        )
    return image

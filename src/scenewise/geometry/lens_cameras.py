"""The camera that took a photograph, from a ray to a pixel."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.geometry.lens_models import CUT_PANORAMAS, LENS_MODELS, PANORAMAS, straight


@dataclass(frozen=True)
class LensCamera:
    """The camera that took a photograph: lens model, parameters, image size.  Hashable, so results can be cached by it.

    Attributes:
        model: name in ``LENS_MODELS``.
        params: COLMAP's order: focal length(s) and principal point in pixels, then the model's own.
        width: width of the photograph in pixels.
        height: height of the photograph in pixels.

    Raises:
        ConventionError: unknown model, wrong number of parameters, non-finite values, focal lengths ≤ 0, empty image.
    """

    model: str
    params: tuple[float, ...]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.model in PANORAMAS:
            raise ConventionError("camera model", expected="a lens", got=self.model, fix=CUT_PANORAMAS)
        if self.model not in LENS_MODELS:
            raise ConventionError("camera model", expected=f"one of {', '.join(LENS_MODELS)}", got=self.model)
        lens = LENS_MODELS[self.model]
        count = lens.focal_lengths + 2 + lens.extra
        if len(self.params) != count:
            raise ConventionError(f"parameters of {self.model}", expected=f"{count} numbers", got=len(self.params))
        if not all(math.isfinite(value) for value in self.params):
            raise ConventionError(f"parameters of {self.model}", expected="finite numbers", got=list(self.params))
        if min(self.params[: lens.focal_lengths]) <= 0:
            raise ConventionError(
                f"parameters of {self.model}",
                expected="focal lengths above 0",
                got=list(self.params[: lens.focal_lengths]),
                fix="calibrate the camera again",
            )
        if self.width < 1 or self.height < 1:
            raise ConventionError("image size", expected="at least 1×1", got=f"{self.width}×{self.height}")

    @property
    def K(self) -> Float64[np.ndarray, "3 3"]:
        """Focal lengths and principal point as a matrix, in pixels."""
        lens = LENS_MODELS[self.model]
        fx, fy = self.params[0], self.params[lens.focal_lengths - 1]
        cx, cy = self.params[lens.focal_lengths : lens.focal_lengths + 2]
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @property
    def extra(self) -> tuple[float, ...]:
        """The model's parameters behind the principal point."""
        return self.params[LENS_MODELS[self.model].focal_lengths + 2 :]

    @property
    def is_pinhole(self) -> bool:
        """Whether the photograph already is a pinhole image."""
        lens = LENS_MODELS[self.model]
        return lens.bend is straight or (not lens.fisheye and not any(self.extra))

    def resized(self, width: int, height: int) -> "LensCamera":
        """The same lens photographed at another resolution; each axis is scaled by its own ratio."""
        if (width, height) == (self.width, self.height):
            return self
        ratio_x, ratio_y = width / self.width, height / self.height
        fx, fy, cx, cy = self.K[0, 0], self.K[1, 1], self.K[0, 2], self.K[1, 2]
        if LENS_MODELS[self.model].focal_lengths == 2:
            focal: tuple[float, ...] = (float(fx * ratio_x), float(fy * ratio_y))
        elif ratio_x == ratio_y:
            focal = (float(fx * ratio_x),)
        else:  # images_4 of an odd size: the axes differ by a fraction of a pixel, one focal length becomes two
            model, extra = _TWO_FOCAL_LENGTHS[self.model], self.extra
            focal = (float(fx * ratio_x), float(fy * ratio_y))
            extra += (0.0,) * (LENS_MODELS[model].extra - len(extra))
            return LensCamera(model, (*focal, float(cx * ratio_x), float(cy * ratio_y), *extra), width, height)
        params = (*focal, float(cx * ratio_x), float(cy * ratio_y), *self.extra)
        return replace(self, params=params, width=width, height=height)


# Each model with one focal length is another with two whose further parameters are zero.
_TWO_FOCAL_LENGTHS = {
    "SIMPLE_PINHOLE": "PINHOLE",
    "SIMPLE_RADIAL": "OPENCV",
    "RADIAL": "OPENCV",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "SIMPLE_DIVISION": "DIVISION",
    "SIMPLE_FISHEYE": "FISHEYE",
}


def distort(lens_camera: LensCamera, rays: Float64[np.ndarray, "*batch 2"]) -> Float64[np.ndarray, "*batch 2"]:
    """Pixels of the photograph hit by rays.

    Args:
        lens_camera: the lens.
        rays: (X/Z, Y/Z) in camera axes (+X right, +Y down), Z > 0.

    Returns:
        (u, v) in pixels, centre of the first pixel at (0.5, 0.5); NaN where the model has no value.
    """
    K = lens_camera.K
    x, y = LENS_MODELS[lens_camera.model].bend(rays[..., :1], rays[..., 1:], lens_camera.extra)
    return np.concatenate([K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]], axis=-1)

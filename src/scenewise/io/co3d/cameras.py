"""PyTorch3D's cameras, as CO3D stores them, in our axes and pixels."""

import numpy as np
from jaxtyping import Float64

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.json_fields import JsonFields
from scenewise.io.lens_files import lens_camera_or_error

FORMATS = ("ndc_isotropic", "ndc_norm_image_bounds")
_OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])


def lens_of_viewpoint(viewpoint: JsonFields, width: int, height: int) -> LensCamera:
    """The pinhole camera of a frame.

    With half the sides h = (width, height)/2, and s = (min h, min h) for "ndc_isotropic" or s = h for "ndc_norm_image_bounds":
    f = s·focal_length and c = h − s·principal_point, since normalised coordinates grow to the left and up.  Borders of the image
    are at ±1, so pixel centres are at half-integers, as ours.  Source: PyTorch3D, "Cameras", and ``ViewpointAnnotation`` in
    CO3D's ``data_types.py``.

    Args:
        viewpoint: ``viewpoint`` of a frame's record.
        width: of the image, pixels.
        height: of the image, pixels.

    Raises:
        DataFormatError: an unknown format, or numbers that are no camera's.
    """
    form = viewpoint.text("intrinsics_format", None) or "ndc_norm_image_bounds"
    if form.lower() not in FORMATS:
        raise viewpoint.wrong("intrinsics_format", " or ".join(FORMATS), repr(form)[:60], "use the list as published")
    half = np.array([width, height]) / 2.0
    unit = np.full(2, half.min()) if form.lower() == "ndc_isotropic" else half
    focal = unit * viewpoint.array("focal_length", (2,))
    centre = half - unit * viewpoint.array("principal_point", (2,))
    params = (float(focal[0]), float(focal[1]), float(centre[0]), float(centre[1]))
    return lens_camera_or_error(viewpoint.path, viewpoint.place, "PINHOLE", params, width, height)


def camera_from_world_of(viewpoint: JsonFields) -> Float64[np.ndarray, "4 4"]:
    """The pose of a frame for column vectors and OpenCV axes: F·Rᵀ and F·T with F = diag(−1, −1, 1).

    Args:
        viewpoint: ``viewpoint`` of a frame's record, whose ``R`` multiplies rows from the right.

    Raises:
        DataFormatError: no numbers of these shapes.
    """
    pose = np.eye(4)
    pose[:3, :3] = _OPENCV_FROM_PYTORCH3D @ viewpoint.array("R", (3, 3)).T
    pose[:3, 3] = _OPENCV_FROM_PYTORCH3D @ viewpoint.array("T", (3,))
    return pose

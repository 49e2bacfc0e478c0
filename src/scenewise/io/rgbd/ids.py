"""Class and instance ids per pixel of RGB-D frames."""

import numpy as np
from jaxtyping import Int64

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.images import read_codes_u16
from scenewise.io.resizing import resize_nearest
from scenewise.io.rgbd.calibration import RgbdFiles, read_calibration
from scenewise.io.rgbd.capture_json import read_capture_json
from scenewise.io.undistorted_pixels import sample_nearest
from scenewise.io.views import is_file
from scenewise.scenes.frames import Frame

MISSING_U16 = 65535
"""Stored where the class, the instance or the depth is unknown."""


def read_class_ids(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """Class per pixel of a frame read by :func:`read_rgbd`, −1 = unknown; None when the frame has no ``class.png``."""
    return _read_ids(frame, "class")


def read_instance_ids(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """Instance per pixel of a frame read by :func:`read_rgbd`, −1 = none; None when the frame has no ``instance.png``."""
    return _read_ids(frame, "instance")


def _read_ids(frame: Frame, kind: str) -> Int64[np.ndarray, "height width"] | None:
    if frame.image_path is None or ".color." not in frame.image_path.name:
        return None
    path = frame.image_path.with_name(f"{frame.image_path.name.split('.color.')[0]}.{kind}.png")
    if not is_file(path):
        return None
    codes = read_codes_u16(path).astype(np.int64)
    ids = np.where(codes == MISSING_U16, -1, codes)
    # A resized frame no longer knows its lens, so the lens is that of the folder; each pixel takes the nearest one's id.
    files, more = RgbdFiles(path.parent, frame.image_path, None), read_capture_json(path.parent)
    lens = read_calibration(files, more, default_poses_of="color").color_lens
    if lens.is_pinhole:
        K = frame.camera.K
        params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
        return sample_nearest(ids, LensCamera("PINHOLE", params, frame.camera.width, frame.camera.height))
    return resize_nearest(sample_nearest(ids, lens), frame.camera.width, frame.camera.height)

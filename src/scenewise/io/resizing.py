"""Frames and captures at another size: nothing is decoded before a frame is asked for its pixels."""

from dataclasses import replace

import numpy as np

from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame


def resized(frame: Frame, width: int, height: int) -> Frame:
    """The same frame at another resolution: area filter for colour, nearest valid sample for depth, all-covered for masks."""
    load_image, load_depth, load_mask, load_coverage = frame.load_image, frame.load_depth, frame.load_mask, frame.load_coverage
    return replace(
        frame,
        camera=frame.camera.resized(width, height),
        load_image=None if load_image is None else lambda: _resize_image(load_image(), width, height),
        load_depth=None if load_depth is None else lambda: resize_nearest(load_depth(), width, height),
        load_mask=None if load_mask is None else lambda: _resize_mask(load_mask(), width, height),
        load_coverage=None if load_coverage is None else lambda: _resize_image(load_coverage(), width, height),
    )


def downscaled(frame: Frame, factor: int) -> Frame:
    """The frame at 1/``factor`` of its size, rounded down, at least one pixel."""
    if factor == 1:
        return frame
    return resized(frame, max(1, frame.camera.width // factor), max(1, frame.camera.height // factor))


def downscaled_capture(capture: Capture, factor: int) -> Capture:
    """The capture with every frame at 1/``factor`` of its size."""
    return replace(capture, frames=tuple(downscaled(frame, factor) for frame in capture.frames))


def _resize_image(image_u8: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image

    if image_u8.shape[:2] == (height, width):
        return image_u8
    return np.asarray(Image.fromarray(image_u8).resize((width, height), Image.Resampling.BOX))


def _resize_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """True where everything that a pixel covers is to be used: its colour is the mean over all of that."""
    return _resize_image(mask.astype(np.uint8) * np.uint8(255), width, height) == 255


def resize_nearest(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """A map at another size, each pixel with the value of the one that its centre lies in."""
    source_height, source_width = values.shape
    if (source_height, source_width) == (height, width):
        return values
    rows = ((np.arange(height) + 0.5) * source_height / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * source_width / width).astype(np.int64)
    return np.ascontiguousarray(values[rows[:, None], columns[None, :]])

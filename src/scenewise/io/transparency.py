"""What transparent pixels of photographs mean: a mask of what to use, or a background that is seen through nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from scenewise.io.frame_loaders import warn_of_empty_mask
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import CoverageU8, Frame, PixelMask

Alpha = Literal["mask", "background"]

_OPAQUE = 250  # of 255: what lossy formats make of 255; below it the background shows through


def usual_meaning(capture: Capture) -> Alpha:
    """What transparency most likely means where nobody says.

    Rendered captures (``transforms_train.json``, and a ``transforms.json`` of pinhole cameras) are transparent where there is
    nothing, which is to be learned.  Photographs never are: somebody cut out what is to be used, as the tools around COLMAP
    take it.
    """
    is_rendered = capture.source_format == "transforms" and not any(frame.is_undistorted for frame in capture.frames)
    return "background" if is_rendered or capture.source_format == "world" else "mask"


def with_alpha(capture: Capture, meaning: Alpha) -> Capture:
    """The capture with transparency taken as a mask or as background; captures without transparency as they are."""
    if all(frame.load_coverage is None for frame in capture.frames):
        return capture
    if meaning == "background":
        # Already over the background; decoding transparency once more would only take time.
        return replace(capture, frames=tuple(replace(frame, load_coverage=None) for frame in capture.frames))
    return replace(capture, frames=tuple(_masked(frame) for frame in capture.frames), background=None)


def _masked(frame: Frame) -> Frame:
    if frame.load_coverage is None:
        return frame
    return replace(frame, load_mask=_both(frame, frame.load_coverage, frame.load_mask), load_coverage=None)


def _both(frame: Frame, coverage: Callable[[], CoverageU8], mask: Callable[[], PixelMask] | None) -> Callable[[], PixelMask]:
    """Opaque pixels, of those that a mask leaves."""

    def load() -> PixelMask:
        opaque: PixelMask = coverage() >= np.uint8(_OPAQUE)
        if not opaque.any() and frame.image_path is not None:
            warn_of_empty_mask(frame.image_path)
        return opaque if mask is None else opaque & mask()

    return load

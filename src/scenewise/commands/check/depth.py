"""Whether depth maps can be read, told from a few of them before training needs them all."""

from dataclasses import dataclass

from scenewise.errors import ScenewiseError
from scenewise.io.depth_files import depth_size
from scenewise.io.frame_loaders import DepthLoader
from scenewise.parts.points.settings import spread_evenly
from scenewise.scenes.frames import Frame

_LOOKED_AT = 8
_PROPORTIONS = 0.02  # a small map of a large photograph is rounded to whole pixels


@dataclass(frozen=True)
class DepthQuality:
    """What a sample of the depth maps holds.

    Attributes:
        measured: how many were decoded.
        unreadable: why those that cannot be read cannot; each sentence begins with the file.
        empty: frames without a single measurement.
        stretched: frames whose map has other proportions than the photograph it is laid over.
    """

    measured: int
    unreadable: tuple[str, ...]
    empty: tuple[str, ...]
    stretched: tuple[str, ...] = ()


def depth_quality(frames: tuple[Frame, ...]) -> DepthQuality | None:
    """Decodes an even sample of the depth maps; None where there are none."""
    with_depth = tuple(frame for frame in frames if frame.load_depth is not None)
    if not with_depth:
        return None
    looked_at = spread_evenly(with_depth, _LOOKED_AT)
    unreadable, empty, stretched = [], [], []
    for frame in looked_at:
        assert frame.load_depth is not None
        try:
            depth = frame.load_depth()
        except (ScenewiseError, OSError) as error:
            unreadable.append(str(error))
            continue
        if not (depth > 0).any():
            empty.append(frame.name)
        if isinstance(frame.load_depth, DepthLoader) and _is_stretched(frame.load_depth):
            stretched.append(frame.name)
    return DepthQuality(len(looked_at), tuple(unreadable), tuple(empty), tuple(stretched))


def _is_stretched(loader: DepthLoader) -> bool:
    """Whether the map's pixels have another shape than the photograph's: it then shows another part of the scene."""
    width, height = depth_size(loader.path)
    lens = loader.lens_camera
    return abs(width * lens.height / (height * lens.width) - 1.0) > _PROPORTIONS

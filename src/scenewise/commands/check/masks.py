"""What masks leave of the photographs of a capture."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from scenewise.engine.progress import Progress
from scenewise.errors import ScenewiseError
from scenewise.scenes.frames import Frame

_PIXEL_BUDGET = 400_000_000  # decoded pixels: masks take a fraction of the time of photographs


@dataclass(frozen=True)
class MaskFindings:
    """Masks of photographs.

    Attributes:
        masked: frames with a mask.
        unmasked: frames with an image and without one.
        measured: masks that were decoded.
        mean_used: share of the pixels that masks leave, the mean over the frames that were measured; None where none was.
        empty: frames of which nothing is left.
        unreadable: (frame, reason) of masks that cannot be used.
    """

    masked: int
    unmasked: tuple[str, ...]
    measured: int
    mean_used: float | None
    empty: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


def mask_findings(frames: tuple[Frame, ...], *, threads: int, progress: Progress) -> MaskFindings | None:
    """Decodes masks, or an even sample where that would take long; None where no frame has one.

    Args:
        frames: with images.
        threads: workers that decode.
        progress: shows how many are decoded.
    """
    masked = tuple(frame for frame in frames if frame.load_mask is not None)
    if not masked:
        return None
    pixels = max(frame.camera.width * frame.camera.height for frame in masked)
    number = min(len(masked), max(1, _PIXEL_BUDGET // pixels))
    chosen = [masked[index] for index in np.unique(np.linspace(0, len(masked) - 1, number).round().astype(np.int64))]

    def used(frame: Frame) -> float | str:
        assert frame.load_mask is not None
        try:
            return float(frame.load_mask().mean())
        except (ScenewiseError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(max(1, threads)) as pool, progress.stage("reading masks", len(chosen)) as stage:
        shares = []
        for share in pool.map(used, chosen):
            shares.append(share)
            stage.advance()
    measured = [share for share in shares if isinstance(share, float)]
    return MaskFindings(
        masked=len(masked),
        unmasked=tuple(frame.name for frame in frames if frame.load_mask is None),
        measured=len(measured),
        mean_used=float(np.mean(measured)) if measured else None,
        empty=tuple(frame.name for frame, share in zip(chosen, shares, strict=True) if share == 0.0),
        unreadable=tuple((frame.name, share) for frame, share in zip(chosen, shares, strict=True) if isinstance(share, str)),
    )

"""What a trainer sees: the frames as tensors, at any resolution, in a reproducible order, within a memory bound."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.io.decode_cache import DecodeCache
from scenewise.io.resizing import downscaled
from scenewise.metrics.hidden import grey_where_hidden
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame


@dataclass(frozen=True)
class ViewData:
    """One frame, decoded.

    Attributes:
        index: its number among the training frames.
        name: its name in the capture.
        camera: at the resolution of ``image``.
        downscale: how many times smaller than the capture's images that is.
        image: sRGB in [0, 1]; grey where the mask hides it.
        depth: along +Z in world units, 0 = no measurement; None when unknown.
        mask: pixels to learn from; None for all.
        coverage: how opaque each pixel of the photograph was, in [0, 1]; None when all are.
    """

    index: int
    name: str
    camera: Cameras
    downscale: int
    image: Float[Tensor, "height width 3"]
    depth: Float[Tensor, "height width"] | None
    mask: Bool[Tensor, "height width"] | None
    coverage: Float[Tensor, "height width"] | None


@final
class TrainingViews:
    """The frames a run learns from.

    Args:
        frames: with an image each.
        cache_bytes: decoded pixels kept at most; the rest is decoded again when needed.
        device: where the tensors go.
        cache: of decoded pixels, shared with others who look at the same frames; one of ``cache_bytes`` where none is given.

    Raises:
        ConventionError: no frames, or one without an image.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        *,
        cache_bytes: int = 1_000_000_000,
        device: torch.device | str = "cpu",
        cache: DecodeCache | None = None,
    ) -> None:
        without = [frame.name for frame in frames if not frame.has_image]
        if not frames or without:
            raise ConventionError("training frames", expected="at least one, all with an image", got=without[:1] or 0)
        self._cache = DecodeCache(cache_bytes) if cache is None else cache
        self._device = torch.device(device)
        self._frames = {1: tuple(frames)}

    def __len__(self) -> int:
        return len(self._frames[1])

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the indices."""
        return tuple(frame.name for frame in self._frames[1])

    @property
    def cameras(self) -> tuple[Cameras, ...]:
        """Full-size cameras in the order of the indices."""
        return tuple(frame.camera for frame in self._frames[1])

    def camera(self, index: int, downscale: int = 1) -> Cameras:
        """A camera without decoding its image."""
        return self._frame(index, downscale).camera

    def load(self, index: int, downscale: int = 1) -> ViewData:
        """Decode one frame (or take it from the cache)."""
        frame = self._frame(index, downscale)
        depth, used = self._cache.depth(frame), self._cache.mask(frame)
        mask = None if used is None else torch.from_numpy(used.copy()).to(self._device)
        coverage_u8 = None if frame.load_coverage is None else self._cache.get(_key(frame, "coverage"), frame.load_coverage)
        return ViewData(
            index=index,
            name=frame.name,
            camera=frame.camera,
            downscale=downscale,
            image=grey_where_hidden(self._unit_floats(self._cache.image(frame)), mask),
            # A depth map may hold NaN where nothing was measured; arithmetic must not meet it.
            depth=None if depth is None else torch.from_numpy(np.nan_to_num(depth, posinf=0.0, neginf=0.0)).to(self._device),
            mask=mask,
            coverage=None if coverage_u8 is None else self._unit_floats(coverage_u8),
        )

    def preload(self, threads: int) -> int:
        """Decode ahead, several frames at a time, as many as the cache holds; returns how many.

        Without it the first epoch waits for one decoder, and speed measured there is that of the decoder.
        """
        frames, room = [], self._cache.max_bytes - self._cache.bytes_used
        for frame in self._frames[1]:
            room -= _decoded_size(frame)
            if room < 0:
                break
            frames.append(frame)

        def decode(frame: Frame) -> None:
            self._cache.image(frame)
            self._cache.depth(frame)
            self._cache.mask(frame)

        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            for _ in pool.map(decode, frames):  # raises what a decoder raised
                pass
        return len(frames)

    def _unit_floats(self, values_u8: np.ndarray) -> Tensor:
        return torch.from_numpy(np.multiply(values_u8, np.float32(1.0 / 255.0), dtype=np.float32)).to(self._device)

    def _frame(self, index: int, downscale: int) -> Frame:
        if downscale not in self._frames:
            self._frames[downscale] = tuple(self._smaller(frame, downscale) for frame in self._frames[1])
        return self._frames[downscale][index]

    def _smaller(self, frame: Frame, downscale: int) -> Frame:
        # Smaller images are made from the cached full ones: decoding and undistorting is what takes long.
        load_image = frame.load_image
        cached = replace(frame, load_image=None if load_image is None else lambda: self._cache.image(frame))
        return downscaled(cached, downscale)


def _decoded_size(frame: Frame) -> int:
    pixels = frame.camera.width * frame.camera.height
    return pixels * (3 + 4 * (frame.load_depth is not None) + (frame.load_mask is not None))


def _key(frame: Frame, kind: str) -> tuple[str, str]:
    return f"{frame.name}@{frame.camera.width}x{frame.camera.height}", kind


@final
class ViewOrder:
    """Every view once per epoch, in a new random order each time.

    Args:
        generator: where the orders come from.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._order: Int[Tensor, " views"] = torch.empty(0, dtype=torch.int64)
        self._position = 0

    def next(self, count: int) -> int:
        """Index of the next view; a new epoch has the first ``count`` of them."""
        if self._position >= len(self._order):
            self._order = torch.randperm(count, generator=self._generator)
            self._position = 0
        self._position += 1
        return int(self._order[self._position - 1])

    def state_tensors(self) -> dict[str, Tensor]:
        """The current epoch's order and how far it has got."""
        return {"order": self._order, "position": torch.tensor(self._position, dtype=torch.int64)}

    def load(self, state: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """Continue exactly where ``state_tensors`` was taken."""
        self._order, self._position = state["order"].clone(), int(state["position"])
        self._generator = generator

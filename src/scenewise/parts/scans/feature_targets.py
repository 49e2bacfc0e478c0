"""Frozen features of pictures that students are pulled towards, on a grid over the whole picture.

They need no text space: what is matched is how pixels resemble each other.

    sam:NAME               Segment Anything's image encoder, what CNS (NeurIPS 2023) uses
    files:DIR              features of any network from files
    teacher                what the teacher of labels says, before it is classified
    random-convolutions    a stand-in that needs no weights: fixed random filters and simple statistics of colour
"""

from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float16, Float32
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.scenes.frames import ImageU8
from scenewise.teachers.choose import FILES_PREFIX
from scenewise.teachers.from_files import FilesTeacher
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.regions.choose import SAM_PREFIX
from scenewise.teachers.regions.protocol import RegionSource
from scenewise.teachers.regions.sam import SamRegions, load_sam

STAND_IN = "random-convolutions"
OF_TEACHER = "teacher"
Grid = Float16[np.ndarray, "rows columns channels"]


@runtime_checkable
class FeatureTarget(Protocol):
    """A frozen encoder of pictures."""

    @property
    def name(self) -> str:
        """What a person called it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when its answers do."""
        ...

    def grid(self, image: ImageU8, frame_names: tuple[str, ...]) -> Grid | None:
        """Features of a picture; None where there are none for this frame.  The frame may go by several names."""
        ...


def open_feature_target(
    name: str, teacher: Teacher, *, regions: RegionSource | None = None, device: str = "cpu", local_files_only: bool = False
) -> FeatureTarget:
    """The target a person asked for; see the module.

    Args:
        name: as listed there.
        teacher: of the labels.
        regions: of the same run; a SAM among them is not loaded twice.
        device: for SAM.
        local_files_only: never ask the network.

    Raises:
        ConventionError: there is no such target.
        ResourceError, DataFormatError, MissingDependencyError: SAM or the files cannot be used.
    """
    if name == STAND_IN:
        return RandomConvolutions()
    if name == OF_TEACHER:
        return TeacherTarget(teacher)
    if name.startswith(FILES_PREFIX):
        from pathlib import Path

        return TeacherTarget(FilesTeacher(Path(name.removeprefix(FILES_PREFIX)).expanduser()), name)
    if name.startswith(SAM_PREFIX) and len(name) > len(SAM_PREFIX):
        if isinstance(regions, SamRegions) and regions.name == name:
            return SamTarget(regions)
        return SamTarget(load_sam(name.removeprefix(SAM_PREFIX), device=device, local_files_only=local_files_only))
    raise ConventionError(
        "targets", expected=f"sam:NAME, files:DIR, {OF_TEACHER} or {STAND_IN}", got=repr(name), fix="name one of them, or none"
    )


@final
class SamTarget:
    """Segment Anything's image encoder; the regions of the same picture share its pass."""

    def __init__(self, sam: SamRegions) -> None:
        self._sam = sam

    @property
    def name(self) -> str:
        return self._sam.name

    @property
    def fingerprint(self) -> str:
        return f"features of {self._sam.fingerprint}"

    def grid(self, image: ImageU8, frame_names: tuple[str, ...]) -> Grid | None:
        """The embedding of the image without its padding."""
        return self._sam.image_features(image).values.astype(np.float16)


@final
class TeacherTarget:
    """A teacher's dense values as they are."""

    def __init__(self, teacher: Teacher, name: str = OF_TEACHER) -> None:
        self._teacher, self._name = teacher, name

    @property
    def name(self) -> str:
        return self._name

    @property
    def fingerprint(self) -> str:
        return f"values of {self._teacher.fingerprint}"

    def grid(self, image: ImageU8, frame_names: tuple[str, ...]) -> Grid | None:
        """The teacher's features.

        Raises:
            ConventionError: it gives probabilities of classes, which are labels and no features.
        """
        for name in frame_names:
            field = self._teacher.dense(image, name)
            if field is not None:
                if field.kind != "features":
                    raise ConventionError("targets", expected="a teacher of features", got=f"{self._teacher.name}: probabilities")
                return field.values.astype(np.float16)
        return None


@final
class RandomConvolutions:
    """A stand-in for a foundation model's encoder: nobody trained it, and reports must call it by its name.

    Three convolutions with a stride of 2 whose filters are drawn once from a fixed seed (He et al. 2015, arXiv 1502.01852), each
    followed by rectification and centred over the picture; beside them the mean and spread of colour and a histogram of gradient
    directions of each 8×8 cell.  Random filters keep texture and edges apart without knowing anything (Jarrett et al. 2009,
    "What is the best multi-stage architecture for object recognition?").
    """

    _SEED = 20_240_117
    _WIDTHS = (24, 48, 64)
    _CELL = 8
    _DIRECTIONS = 8

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(self._SEED)
        self._filters: list[Tensor] = []
        channels = 3
        for width in self._WIDTHS:
            scale = (2.0 / (channels * 9)) ** 0.5
            self._filters.append(torch.randn(width, channels, 3, 3, generator=generator) * scale)
            channels = width

    @property
    def name(self) -> str:
        return STAND_IN

    @property
    def fingerprint(self) -> str:
        return f"{STAND_IN}-1 seed {self._SEED} widths {self._WIDTHS} cell {self._CELL}"

    @torch.no_grad()
    def grid(self, image: ImageU8, frame_names: tuple[str, ...]) -> Grid | None:
        """78 numbers for each cell of 8×8 pixels, the random ones scaled to unit length together, the others too."""
        values = torch.from_numpy(image.astype(np.float32) / 255.0).permute(2, 0, 1)[None]
        rows, columns = max(1, image.shape[0] // self._CELL), max(1, image.shape[1] // self._CELL)
        # Whole cells, so that the grid covers the whole picture.
        shown = torch.nn.functional.interpolate(
            values, (rows * self._CELL, columns * self._CELL), mode="bilinear", align_corners=False
        )
        deep = 2 * shown - 1
        for filters in self._filters:
            deep = torch.relu(torch.nn.functional.conv2d(deep, filters, stride=2, padding=1))
            deep = deep - deep.mean(dim=(2, 3), keepdim=True)
        both = torch.cat([_unit(deep), _unit(self._statistics(shown))], dim=1)[0]
        found: Float32[np.ndarray, "rows columns channels"] = both.permute(1, 2, 0).contiguous().numpy()
        return found.astype(np.float16)

    def _statistics(self, shown: Tensor) -> Tensor:
        cell = self._CELL
        mean = torch.nn.functional.avg_pool2d(shown, cell)
        spread = (torch.nn.functional.avg_pool2d(shown * shown, cell) - mean * mean).clamp(min=0).sqrt()
        gray = torch.nn.functional.pad(shown.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across = (gray[..., 1:-1, 2:] - gray[..., 1:-1, :-2]) / 2
        down = (gray[..., 2:, 1:-1] - gray[..., :-2, 1:-1]) / 2
        strength = (across * across + down * down).sqrt()
        turn = torch.atan2(down, across).remainder(2 * torch.pi) * (self._DIRECTIONS / (2 * torch.pi))
        direction = turn.floor().long().clamp(max=self._DIRECTIONS - 1)
        spreadout = torch.zeros(1, self._DIRECTIONS, *strength.shape[2:]).scatter_(1, direction, strength)
        histogram = torch.nn.functional.avg_pool2d(spreadout, cell)
        return torch.cat([mean - mean.mean(dim=(2, 3), keepdim=True), spread, 4 * histogram], dim=1)


def _unit(values: Tensor) -> Tensor:
    return values / values.norm(dim=1, keepdim=True).clamp(min=1e-6)

"""The momentum teacher: a slow copy of the shared decoder that keeps blocks consistent.

Source: Fan et al. 2024 (Momentum-GS), arXiv 2412.04887, section 4.2.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.decoder import HEADS, AnchorDecoder, copied
from scenewise.parts.splats.anchors.field import DecodedAnchors
from scenewise.parts.splats.strategies.protocol import StepContext
from scenewise.parts.splats.views import ViewData
from scenewise.rendering import RenderOutput


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher follows, and how much it says.

    Attributes:
        momentum: m of θ_teacher ← m·θ_teacher + (1 − m)·θ_student (paper, section 5.1: 0.9).
        period: steps between two of these (released code: 1).
        weight: λ of the consistency loss (released code: 50, or 100 for Rubble and Sci-Art).
        passes_gradients: the difference also moves anchors by way of the teacher, as in the released code: then it says little
            to the anchors, on whose features both decoders agree as long as they are alike, and speaks to the student alone.
            Otherwise the teacher is a target, and anchors are held back too: a town in four blocks lost 0.3 dB by it.
    """

    momentum: float = 0.9
    period: int = 1
    weight: float = 50.0
    passes_gradients: bool = True


@final
class MomentumTeacher:
    """A copy of a decoder that follows it.

    Args:
        decoder: the student.
        settings: how it follows.
    """

    def __init__(self, decoder: AnchorDecoder, settings: TeacherSettings) -> None:
        self.settings = settings
        self._student = decoder
        self.heads: DecoderHeads = copied(decoder.heads())

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves towards the student, when it is due before step ``step`` (counted from 0)."""
        if step % self.settings.period:
            return
        student = self._student.heads()
        for name in HEADS:
            getattr(self.heads, name).lerp_(getattr(student, name), 1.0 - self.settings.momentum)

    @torch.no_grad()
    def distance(self) -> float:
        """Root of the mean squared difference between teacher and student over all numbers."""
        student = self._student.heads()
        squares = [(getattr(self.heads, name) - getattr(student, name)).square().sum() for name in HEADS]
        return float((torch.stack(squares).sum() / sum(getattr(student, name).numel() for name in HEADS)).sqrt())

    def tensors(self) -> dict[str, Tensor]:
        """Its numbers by name; not copies."""
        return {name: getattr(self.heads, name) for name in HEADS}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what :meth:`tensors` gave; whoever holds the heads keeps the same ones."""
        for name in HEADS:
            getattr(self.heads, name).copy_(tensors[name])


@final
@dataclass(frozen=True)
class DecoderConsistency:
    """What the student says of a view's children is to be what the teacher says: colours, quaternions, scales, opacities.

    Source: Fan et al. 2024, Eq. 7, a norm of all outputs; the released code adds four means of squares, as here.

    Attributes:
        factor: λ.
    """

    factor: float

    @property
    def name(self) -> str:
        """Under which it is logged."""
        return "consistency"

    def weight(self, context: StepContext) -> float:
        """Constant."""
        return self.factor

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor | None:
        """The sum of the four means, or None without a teacher."""
        assert isinstance(context.decoded, DecodedAnchors), "anchors were decoded"
        differences = context.decoded.differences
        return None if differences is None else differences.sum()

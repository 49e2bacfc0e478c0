"""What a strategy is: a piece of training that adds, removes, moves or hides Gaussians, composable with others."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.engine.randomness import RandomStreams
from scenewise.parts.splats.fields import DecodedGaussians, GaussianField
from scenewise.parts.splats.schedules import Schedule
from scenewise.rendering import RenderOutput
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians


@dataclass(frozen=True)
class StepContext:
    """What every hook may know and use.

    Attributes:
        step: steps completed before this one (0 in the first).
        schedule: length of the run.
        field: what is being trained; its rows change only through ``field.store``.
        scene_extent: size of the scene in world units.
        random: named random streams; a strategy draws from those with its own name.
        decoded: what the field made of the view at hand, as it says itself; None between views.
    """

    step: int
    schedule: Schedule
    field: GaussianField
    scene_extent: float
    random: RandomStreams
    decoded: DecodedGaussians | None = None

    @property
    def steps_done(self) -> int:
        """Steps completed once this one is over."""
        return self.step + 1


@dataclass(frozen=True)
class ViewResult:
    """One rendered view after its backward pass.

    Attributes:
        name: name of the frame.
        camera: the camera at the resolution that was rendered.
        downscale: how many times smaller than the capture's images that is.
        output: what was rendered.
        screen_gradients: ∂L/∂u, ∂L/∂v and, when a strategy asked for four columns, the sums of their absolute values over
            pixels, in 1/pixels; None when no strategy asked.
        row_of: row of the store that each rendered Gaussian came from; None: Gaussian i is row i.  Statistics per row go through
            :mod:`scenewise.parts.splats.rows`, which knows both.
    """

    name: str
    camera: Cameras
    downscale: int
    output: RenderOutput
    screen_gradients: Float[Tensor, "n columns"] | None
    row_of: Int64[Tensor, "n"] | None = None


class Strategy:
    """Hooks in the order in which a step calls them.  Strategies run in the order of their list.

    A strategy is a frozen record of settings that derives from this class and overrides the hooks it needs; the others do
    nothing.  What it must remember lives in records attached to ``field.store`` (aligned with the rows whoever edits them, and
    saved with every checkpoint), named after the strategy.
    """

    def start(self, context: StepContext) -> None:
        """Before the first step, not after a resume: attach records, check settings."""

    def screen_gradient_columns(self, context: StepContext) -> Literal[0, 2, 4]:
        """What the next render must report about gradients on the screen: nothing (0), ∂L/∂u and ∂L/∂v (2), or also the sums
        of their absolute values over pixels (4), which make the backward pass a quarter slower.
        """
        return 0

    def contribution(self, context: StepContext) -> bool:
        """Whether the next render must report what each Gaussian contributes to it."""
        return False

    def before_step(self, context: StepContext, gaussians: Gaussians) -> Gaussians:
        """Before each view is rendered: the Gaussians to render instead (dropout, noise), as many and in the same order."""
        return gaussians

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        """After a view's backward pass: collect statistics."""

    def after_backward(self, context: StepContext) -> None:
        """When all gradients of the step exist, before Adam: add gradients of regularisers."""

    def after_step(self, context: StepContext) -> None:
        """After Adam: edit rows."""

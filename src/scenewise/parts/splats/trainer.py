"""Training of every Gaussian method: field + views + objectives + strategies, one step at a time.

The trainer knows no method.  It renders what the field decodes, lets objectives judge and strategies edit, keeps every bit of
state that another run would need to continue identically, and refuses to go on from a step that produced NaN.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack, final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.engine.checkpoints import Checkpoint, prefixed, without_prefix
from scenewise.engine.measuring import steps_within
from scenewise.engine.randomness import RandomStreams
from scenewise.engine.step_back import NonFiniteError
from scenewise.engine.training import StepArguments, StepReport, run_steps
from scenewise.errors import ConventionError
from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.exposure import ExposureCompensation
from scenewise.parts.splats.fields import GaussianField
from scenewise.parts.splats.finite import bad_gradient, bad_parameter
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.pose_refinement import PoseRefinement
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy, ViewResult
from scenewise.parts.splats.time_model import TimeModel
from scenewise.parts.splats.views import TrainingViews, ViewData, ViewOrder
from scenewise.rendering import RenderOutput, render


@final
class SplatTrainer:
    """Trains a field on views.

    Args:
        field: what is trained.
        views: what it is trained on.
        strategies: how rows are added and removed, in order.
        objectives: terms of the loss; default the photometric one.
        settings: see :class:`~scenewise.parts.splats.settings.TrainerSettings`.
        scene_extent: size of the scene in world units.
        background: colour behind the Gaussians, in [0, 1].
        identity: seed, configuration and data.
    """

    def __init__(
        self,
        field: GaussianField,
        views: TrainingViews,
        strategies: Sequence[Strategy],
        *,
        settings: TrainerSettings,
        scene_extent: float,
        objectives: Sequence[Objective] = (Photometric(),),
        background: tuple[float, float, float] | None = None,
        identity: RunIdentity | None = None,
    ) -> None:
        identity = RunIdentity() if identity is None else identity
        self.field = field
        self.views = views
        self.strategies = tuple(strategies)
        self.objectives = tuple(objectives)
        self.settings = settings
        self.scene_extent = scene_extent
        self.random = RandomStreams(identity.seed)
        self.config = dict(identity.config)
        self.data_hash, self._details = identity.data_hash, dict(identity.details)
        self.steps_done = 0
        self.seconds = 0.0
        self.failures: list[str] = []
        device = field.store.device
        self.schedule = Schedule(settings.steps)
        self.exposure = None if settings.exposure is None else ExposureCompensation(len(views), settings.exposure, device)
        self.pose_refinement: PoseRefinement | None = None
        if settings.pose_refinement is not None:
            self.pose_refinement = PoseRefinement(views.cameras, settings.pose_refinement, scene_extent, device)
        self.background = torch.tensor(background or (0.0, 0.0, 0.0), device=device)
        self._order = ViewOrder(self.random["views"])
        self._skip_once: set[int] = set()
        self._last_view = 0
        self._started = False
        self._last_loss, self._last_terms = math.nan, dict[str, float]()

    # ------------------------------------------------------------------------------------------------------------------- running

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.settings.steps

    def set_total_steps(self, steps: int) -> None:
        """Fix the length of the run, and with it every schedule.

        Raises:
            ConventionError: training has already begun.
        """
        if self.steps_done:
            raise ConventionError("total steps", expected="to be set before the first step", got=f"step {self.steps_done}")
        self.settings = replace(self.settings, steps=steps)
        self.schedule = Schedule(steps)

    def turn(self, total_steps: int) -> None:
        """End after another number of steps than planned; the schedules of what is left stretch or shrink.

        Raises:
            ConventionError: training has not begun, is over, or was turned before.
        """
        self.schedule = self.schedule.turned(self.steps_done, total_steps)
        self.settings = replace(self.settings, steps=total_steps)

    def run(self, **how: Unpack[StepArguments]) -> None:
        """Trains up to a step; see :func:`scenewise.engine.training.run_steps`."""
        run_steps(self, **how)

    def measure(self, seconds: float) -> int:
        """How many steps fit into this time; see :func:`scenewise.engine.measuring.steps_within`."""
        return steps_within(self, seconds)

    def slowdown(self) -> float:
        """Time of the mean step over that of the first ones.

        The mean number of Gaussians is taken to be the cap (without a cap: twice the first number), which keeps the estimate on
        the safe side.
        """
        rows, cameras = len(self.field.store), self.views.cameras
        caps = [cap for strategy in self.strategies if (cap := getattr(strategy, "max_gaussians", None)) is not None]
        mean_rows = float(max(rows, min(caps))) if caps else 2.0 * rows
        pixels = sum(camera.width * camera.height for camera in cameras) / len(cameras)
        return TimeModel(pixels, self.schedule, self.settings.resolution, self.settings.sh).slowdown(rows, mean_rows)

    def start(self) -> None:
        """Lets strategies attach their records, before the first step alone."""
        if self._started:
            return
        self._started = True
        context = self._context()
        for strategy in self.strategies:
            strategy.start(context)

    def describe(self) -> StepReport:
        """The last step."""
        rows, loss = len(self.field.store), self._last_loss
        return StepReport(
            self.steps_done,
            self.total_steps,
            loss,
            self._last_terms,
            self.seconds,
            shown={"loss": loss, "gaussians": rows},
            line={"loss": loss, "num_gaussians": rows, "seconds": self.seconds},
        )

    @property
    def last_view(self) -> str:
        """Name of the view that the last step saw last."""
        return self.views.names[self._last_view]

    def _context(self) -> StepContext:
        return StepContext(self.steps_done, self.schedule, self.field, self.scene_extent, self.random)

    # ------------------------------------------------------------------------------------------------------------------ one step

    def step(self) -> None:
        """One step on the next view, or views.

        Raises:
            NonFiniteError: a loss or a gradient is NaN or infinite.
        """
        self.backward()
        self.update()

    def backward(self) -> None:
        """The first half of a step: gradients of the next view, or views, left with the parameters.

        Raises:
            NonFiniteError: a loss or a gradient is NaN or infinite.
        """
        context = self._context()
        progress = self.schedule.progress(self.steps_done)
        self.field.set_sh_degree(self.settings.sh.degree(self.steps_done, self.schedule))
        self.field.set_learning_rates(progress)
        downscale = self.settings.resolution.factor(progress)
        loss, terms = 0.0, dict.fromkeys((objective.name for objective in self.objectives), 0.0)
        for _ in range(self.settings.views_per_step):
            self._last_view = self._next_view()
            loss += self._backward(context, self.views.load(self._last_view, downscale), terms)
        self._require_finite_gradients()
        self._last_loss, self._last_terms = loss, terms

    def update(self) -> None:
        """The second half of a step: parameters follow their gradients, and strategies edit rows."""
        context, progress = self._context(), self.schedule.progress(self.steps_done)
        for strategy in self.strategies:
            strategy.after_backward(context)
        self.field.store.step()
        if self.field.shared is not None:
            self.field.shared.step()
        if self.exposure is not None:
            self.exposure.step(progress)
        if self.pose_refinement is not None:
            self.pose_refinement.step(progress)
        for strategy in self.strategies:
            strategy.after_step(context)
        self.steps_done += 1

    def _next_view(self) -> int:
        settings = self.settings
        count = len(self.views) - (settings.late_views if self.steps_done < settings.late_from else 0)
        view = self._order.next(count)
        while view in self._skip_once and len(self.views) > 1:
            self._skip_once.discard(view)
            view = self._order.next(count)
        return view

    def _backward(self, context: StepContext, view: ViewData, terms: dict[str, float]) -> float:
        decoded = self.field.decoded(view.camera)
        context = replace(context, decoded=decoded)
        gaussians = decoded.gaussians
        for strategy in self.strategies:
            gaussians = strategy.before_step(context, gaussians)
        screen_gradients: Float[Tensor, "n columns"] | None = None
        columns = max((strategy.screen_gradient_columns(context) for strategy in self.strategies), default=0)
        if columns:
            screen_gradients = torch.zeros(len(gaussians), columns, device=gaussians.means.device, requires_grad=True)
        view, background = self._behind(view)
        pose = None if self.pose_refinement is None else self.pose_refinement.camera_from_world(view.index)
        output = render(
            gaussians,
            view.camera,
            background=background,
            camera_from_world=pose,
            screen_gradients=screen_gradients,
            contribution=any(strategy.contribution(context) for strategy in self.strategies),
            backend=self.settings.backend,
        )
        loss = self._judge(context, view, output, terms)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._blame(f"the loss of image {view.name} is {value}", view.index)
        (loss / self.settings.views_per_step if self.settings.views_per_step > 1 else loss).backward()
        gradient = None if screen_gradients is None else screen_gradients.grad
        result = ViewResult(view.name, view.camera, view.downscale, output, gradient, decoded.row_of)
        with torch.no_grad():
            for strategy in self.strategies:
                strategy.after_view(context, result)
        return value / self.settings.views_per_step

    def _behind(self, view: ViewData) -> tuple[ViewData, Float[Tensor, "3"]]:
        """The view and the background to train with: another one each time, where the photograph is transparent and that is
        wanted.
        """
        if view.coverage is None or not self.settings.random_background:
            return view, self.background
        background = torch.rand(3, generator=self.random["background"]).to(self.background.device)
        shown = view.image + (1.0 - view.coverage)[..., None] * (background - self.background)
        return replace(view, image=shown), background

    def _judge(self, context: StepContext, view: ViewData, output: RenderOutput, terms: dict[str, float]) -> Tensor:
        image = output.color if self.exposure is None else self.exposure.apply(output.color, view.index)
        if view.mask is not None:
            image = torch.where(view.mask[..., None], image, view.image)
        total: Tensor | None = None
        for objective in self.objectives:
            weight = objective.weight(context)
            value = objective.value(context, view, output, image) if weight else None
            if value is None:
                continue
            terms[objective.name] += float(value.detach()) / self.settings.views_per_step
            weighted = value if weight == 1.0 else weight * value
            total = weighted if total is None else total + weighted
        assert total is not None, "no objective applies"
        return total

    # -------------------------------------------------------------------------------------------------------------- finite checks

    @property
    def check_every(self) -> int:
        """Steps between two checks of everything."""
        return self.settings.check_every

    @property
    def advice(self) -> str:
        """What to do when training fails again and again."""
        return "check these images and their poses (`scenewise check`), or lower the learning rates"

    def leave_out(self, culprit: int) -> str:
        """Pass over a view the next time it is its turn."""
        self._skip_once.add(culprit)
        return f"image {self.views.names[culprit]}"

    def require_finite(self) -> None:
        """Raises NonFiniteError unless all parameters and moments are finite."""
        found = self._bad_parameter()
        if found is not None:
            raise NonFiniteError(f"{found} became NaN or infinite by step {self.steps_done}", self._last_view)

    def _require_finite_gradients(self) -> None:
        found = bad_gradient(self.field.store)
        if found is not None:
            raise NonFiniteError(f"the gradient of {found} from image {self.last_view} is not finite", self._last_view)

    def _bad_parameter(self) -> str | None:
        return bad_parameter(self.field.store, self._free_parameters())

    def _blame(self, what: str, view: int) -> NonFiniteError:
        """The failure, laid at the door of the view before when the parameters were already bad."""
        self.field.store.clear_gradients()
        found = self._bad_parameter()
        return NonFiniteError(what if found is None else f"{found} is not finite", view)

    # ---------------------------------------------------------------------------------------------------------------------- state

    def _free_parameters(self) -> dict[str, FreeParameters]:
        free: dict[str, FreeParameters] = {}
        if self.field.shared is not None:
            free["shared"] = self.field.shared
        if self.exposure is not None:
            free["exposure"] = self.exposure.parameters
        if self.pose_refinement is not None:
            free["poses"] = self.pose_refinement.parameters
        return free

    def checkpoint(self) -> Checkpoint:
        """Everything another trainer needs to continue identically.  Tensors are not copied."""
        store, free = self.field.store, self._free_parameters()
        parameters = prefixed("rows", store.parameter_tensors())
        optimizer = prefixed("rows", store.optimizer_tensors())
        for owner, group in free.items():
            parameters |= prefixed(owner, group.parameter_tensors())
            optimizer |= prefixed(owner, group.optimizer_tensors())
        state = prefixed("records", store.record_tensors())
        state |= prefixed("random", self.random.state_tensors())
        state |= prefixed("views", self._order.state_tensors())
        details = {
            "total_steps": self.settings.steps,
            "scene_extent": self.scene_extent,
            "seconds": self.seconds,
            "skip_once": sorted(self._skip_once),
            "failures": list(self.failures),
            "num_gaussians": len(store),
            **self._details,
        }
        if self.schedule.turn is not None:
            details["turn"] = list(self.schedule.turn)
        return Checkpoint(self.steps_done, parameters, optimizer, state, self.config, self.data_hash, details)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError, ShapeError: it belongs to another kind of run.
        """
        store = self.field.store
        store.load(
            without_prefix("rows", checkpoint.parameters),
            without_prefix("rows", checkpoint.optimizer),
            without_prefix("records", checkpoint.state),
        )
        for owner, group in self._free_parameters().items():
            group.load(without_prefix(owner, checkpoint.parameters), without_prefix(owner, checkpoint.optimizer))
        self.random.load(without_prefix("random", checkpoint.state))
        self._order.load(without_prefix("views", checkpoint.state), self.random["views"])
        self.settings = replace(self.settings, steps=int(checkpoint.details["total_steps"]))
        turn = checkpoint.details.get("turn")
        self.schedule = Schedule(self.settings.steps, turn=None if turn is None else (int(turn[0]), int(turn[1])))
        self.scene_extent = float(checkpoint.details["scene_extent"])
        self.seconds = float(checkpoint.details["seconds"])
        self._skip_once = set(checkpoint.details["skip_once"])
        self.failures = list(checkpoint.details["failures"])
        self.steps_done = checkpoint.step
        self._started = True

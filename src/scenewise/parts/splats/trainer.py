"""The training loop of every Gaussian method: field + views + objectives + strategies, resumable at any step.

The trainer knows no method.  It renders what the field decodes, lets objectives judge and strategies edit, keeps every bit of
state that another run would need to continue identically, and refuses to go on from a step that produced NaN.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError, ScenewiseError
from scenewise.parts.splats.exposure import ExposureCompensation, ExposureSettings
from scenewise.parts.splats.fields import GaussianField
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.pose_refinement import PoseRefinement, PoseRefinementSettings
from scenewise.parts.splats.schedules import ResolutionSchedule, Schedule, ShSchedule
from scenewise.parts.splats.store import FreeParameters
from scenewise.parts.splats.strategies.protocol import StepContext, Strategy, ViewResult
from scenewise.parts.splats.views import TrainingViews, ViewData, ViewOrder
from scenewise.rendering import Backend, RenderOutput, render

MEASURED_STEPS = 50
"""Steps that are timed before ``--minutes`` fixes the length of the run."""
STEP_COST, PIXEL_COST, GAUSSIAN_COST, SH_DEGREE_COST = 1500.0, 0.039, 0.146, 0.035
"""What a step, a pixel, a Gaussian, and each further degree of its colour cost, in µs on the machine of the benchmarks with two
threads.  Only their ratios are used, to carry measured times over to other numbers."""
MOST_FAILURES = 3
_CHEAP_COLUMNS = 4  # gradients of parameters this narrow are checked every step; wider ones show in the next picture


@dataclass(frozen=True)
class TrainerSettings:
    """Attributes:
    steps: optimiser steps.
    sh: when view-dependent colour starts.
    resolution: coarse-to-fine schedule.
    views_per_step: views whose gradients are averaged for one step.
    exposure: learn a colour transform per image, or None.
    pose_refinement: learn a correction per camera, or None.
    random_background: a new background colour each step behind transparent photographs, so that no colour is confused with
        nothing.
    late_views: so many views, the last ones, are left out before the step ``late_from``.
    late_from: see ``late_views``; from the next epoch after it they take part.
    check_every: steps between two checks of everything for NaN, after each of which the state is kept to fall back on.
    backend: splat kernel.
    """

    steps: int = 30_000
    sh: ShSchedule = field(default_factory=ShSchedule)
    resolution: ResolutionSchedule = field(default_factory=ResolutionSchedule)
    views_per_step: int = 1
    exposure: ExposureSettings | None = None
    pose_refinement: PoseRefinementSettings | None = None
    random_background: bool = False
    late_views: int = 0
    late_from: int = 0
    check_every: int = 100
    backend: Backend = "auto"


@dataclass(frozen=True)
class StepReport:
    """What a listener is told after a step.

    Attributes:
        step: steps done.
        total_steps: of this run.
        loss: weighted sum.
        terms: unweighted value of each objective.
        num_gaussians: rows of the field.
        seconds: training time so far, earlier sessions included.
        view: name of the last view.
    """

    step: int
    total_steps: int
    loss: float
    terms: Mapping[str, float]
    num_gaussians: int
    seconds: float
    view: str


class TrainingDivergedError(ScenewiseError, ArithmeticError):
    """Training produced non-finite values again and again, also after stepping back and leaving out the views concerned."""


class _NonFiniteError(Exception):
    """Something became NaN or infinite; ``culprit`` is the view to leave out."""

    def __init__(self, what: str, culprit: int) -> None:
        super().__init__(what)
        self.culprit = culprit


@final
class SplatTrainer:
    """Trains a field on views.

    Args:
        field: what is trained.
        views: what it is trained on.
        strategies: how rows are added and removed, in order.
        objectives: terms of the loss; default the photometric one.
        settings: see :class:`TrainerSettings`.
        scene_extent: size of the scene in world units.
        seed: of every random stream.
        background: colour behind the Gaussians, in [0, 1].
        config: resolved configuration, stored in checkpoints and compared on resume.
        data_hash: checksum of the data, likewise.
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
        seed: int = 0,
        background: tuple[float, float, float] | None = None,
        config: Mapping[str, Any] | None = None,
        data_hash: str = "",
    ) -> None:
        self.field = field
        self.views = views
        self.strategies = tuple(strategies)
        self.objectives = tuple(objectives)
        self.settings = settings
        self.scene_extent = scene_extent
        self.random = RandomStreams(seed)
        self.config = dict(config or {})
        self.data_hash = data_hash
        self.steps_done = 0
        self.seconds = 0.0
        device = field.store.device
        self.schedule = Schedule(settings.steps)
        self.exposure = None if settings.exposure is None else ExposureCompensation(len(views), settings.exposure, device)
        self.pose_refinement: PoseRefinement | None = None
        if settings.pose_refinement is not None:
            self.pose_refinement = PoseRefinement(views.cameras, settings.pose_refinement, scene_extent, device)
        self._background = torch.tensor(background or (0.0, 0.0, 0.0), device=device)
        self._order = ViewOrder(self.random["views"])
        self._skip_once: set[int] = set()
        self._failures: list[str] = []
        self._last_view = 0
        self._started = False
        self._good: Checkpoint | None = None

    # ------------------------------------------------------------------------------------------------------------------- running

    def set_total_steps(self, steps: int) -> None:
        """Fix the length of the run, and with it every schedule.

        Raises:
            ConventionError: training has already begun.
        """
        if self.steps_done:
            raise ConventionError("total steps", expected="to be set before the first step", got=f"step {self.steps_done}")
        self.settings = replace(self.settings, steps=steps)
        self.schedule = Schedule(steps)
        if self._good is not None:
            self._good = _copy(self.checkpoint())

    def run(
        self,
        *,
        until: int | None = None,
        listener: Callable[[StepReport], None] | None = None,
        report_every: int = 10,
        save: Callable[[Checkpoint], object] | None = None,
        save_every: int = 1000,
    ) -> None:
        """Train up to step ``until`` (default: to the end).

        Args:
            until: steps done when it returns.
            listener: told about every ``report_every``-th step.
            report_every: see ``listener``.
            save: given a checkpoint every ``save_every`` steps and at the end, for example :meth:`Checkpointer.save`.
            save_every: see ``save``.

        Raises:
            TrainingDivergedError: three times something became NaN or infinite.
            Whatever ``save`` raises.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        self._start()
        clock = time.perf_counter()
        while self.steps_done < last:
            try:
                loss, terms = self._step()
                if self.steps_done % self.settings.check_every == 0 or self.steps_done == last:
                    self._require_finite_state()
                    self._good = _copy(self.checkpoint()) if self.steps_done < last else None
            except _NonFiniteError as failure:
                self._step_back(failure)
                continue
            now = time.perf_counter()
            self.seconds += now - clock
            clock = now
            done = self.steps_done
            if listener is not None and (done % report_every == 0 or done == last):
                view = self.views.names[self._last_view]
                rows = len(self.field.store)
                listener(StepReport(done, self.settings.steps, loss, terms, rows, self.seconds, view))
            if save is not None and (done % save_every == 0 or done == last):
                save(self.checkpoint())

    def measure(self, seconds: float) -> int:
        """How many steps fit into this time: the first 50 are timed, then undone, so that the run equals one given that number.

        The mean step takes longer (more Gaussians, more colour) or shorter (coarse images) than the first ones.  The estimate
        is the measured time × C(mean) / C(first), with C the sum of the costs above.  The mean number of Gaussians is taken to be
        the cap (without a cap: twice the first number), which keeps the estimate on the safe side.  Measuring is deducted.
        """
        self._start()
        begin = _copy(self.checkpoint())
        store_device = self.field.store.device
        self._step()  # the first one also decodes, allocates and compiles
        started = time.perf_counter()
        measured = 0
        while measured < MEASURED_STEPS:
            try:
                self._step()
            except _NonFiniteError:  # the run itself will deal with it
                break
            measured += 1
        if store_device.type == "cuda":
            torch.cuda.synchronize(store_device)
        each = (time.perf_counter() - started) / max(1, measured)
        rows = len(self.field.store)
        self.restore(begin)
        left = max(0.0, seconds - each * (measured + 1))
        return max(MEASURED_STEPS, int(left / (each * self._slowdown(rows))))

    @torch.no_grad()
    def pose_gain(self) -> dict[str, float]:
        """Mean PSNR of the training views from the given and from the refined poses (both without exposure compensation).

        Raises:
            ConventionError: poses are not refined.
        """
        if self.pose_refinement is None:
            raise ConventionError("pose_gain", expected="a run with pose refinement", got="none")
        psnr: dict[str, float] = {"psnr_given": 0.0, "psnr_refined": 0.0}
        for index in range(len(self.views)):
            view = self.views.load(index)
            for name, camera in (
                ("psnr_given", view.camera),
                ("psnr_refined", self.pose_refinement.refined_camera(view.camera, index)),
            ):
                color = render(
                    self.field.gaussians(camera), camera, background=self._background, backend=self.settings.backend
                ).color
                error = (color.clamp(0.0, 1.0) - view.image).square().mean().clamp_min(1e-10)
                psnr[name] -= 10.0 * math.log10(float(error)) / len(self.views)
        return psnr

    def _slowdown(self, rows: int) -> float:
        """Time of the mean step over that of the first ones; see :meth:`measure`."""
        caps = [cap for strategy in self.strategies if (cap := getattr(strategy, "max_gaussians", None)) is not None]
        mean_rows = max(rows, min(caps)) if caps else 2.0 * rows
        cameras = self.views.cameras
        pixels = sum(camera.width * camera.height for camera in cameras) / len(cameras)
        at = [(i + 0.5) / 100 for i in range(100)]
        mean_share = sum(self.settings.resolution.factor(progress) ** -2.0 for progress in at) / len(at)
        degrees = [self.settings.sh.degree(int(progress * self.settings.steps), self.schedule) for progress in at]
        mean = (
            STEP_COST
            + PIXEL_COST * pixels * mean_share
            + (GAUSSIAN_COST + SH_DEGREE_COST * sum(degrees) / len(degrees)) * mean_rows
        )
        first = STEP_COST + PIXEL_COST * pixels * self.settings.resolution.factor(0.0) ** -2.0 + GAUSSIAN_COST * rows
        return mean / first

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        context = self._context()
        for strategy in self.strategies:
            strategy.start(context)
        self._good = _copy(self.checkpoint())

    def _context(self) -> StepContext:
        return StepContext(self.steps_done, self.schedule, self.field, self.scene_extent, self.random)

    # ------------------------------------------------------------------------------------------------------------------ one step

    def _step(self) -> tuple[float, dict[str, float]]:
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
        return loss, terms

    def _next_view(self) -> int:
        settings = self.settings
        count = len(self.views) - (settings.late_views if self.steps_done < settings.late_from else 0)
        view = self._order.next(count)
        while view in self._skip_once and len(self.views) > 1:
            self._skip_once.discard(view)
            view = self._order.next(count)
        return view

    def _backward(self, context: StepContext, view: ViewData, terms: dict[str, float]) -> float:
        gaussians = self.field.gaussians(view.camera)
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
        result = ViewResult(view.name, view.camera, view.downscale, output, gradient)
        with torch.no_grad():
            for strategy in self.strategies:
                strategy.after_view(context, result)
        return value / self.settings.views_per_step

    def _behind(self, view: ViewData) -> tuple[ViewData, Float[Tensor, "3"]]:
        """The view and the background to train with: another one each time, where the photograph is transparent and that is
        wanted.
        """
        if view.coverage is None or not self.settings.random_background:
            return view, self._background
        background = torch.rand(3, generator=self.random["background"]).to(self._background.device)
        shown = view.image + (1.0 - view.coverage)[..., None] * (background - self._background)
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

    def _require_finite_gradients(self) -> None:
        # A sum is not finite as soon as one element is not; it costs a fraction of looking at each.
        store = self.field.store
        for name in store:
            value = store[name]
            if value.grad is None or value.numel() > _CHEAP_COLUMNS * len(store):
                continue
            if not math.isfinite(float(value.grad.sum())) and (row := _first_bad_row(value.grad)) is not None:
                view = self.views.names[self._last_view]
                raise _NonFiniteError(
                    f"the gradient of {name} of Gaussian {row} from image {view} is not finite", self._last_view
                )

    def _require_finite_state(self) -> None:
        found = self._bad_parameter()
        if found is not None:
            raise _NonFiniteError(f"{found} became NaN or infinite by step {self.steps_done}", self._last_view)

    def _bad_parameter(self) -> str | None:
        store = self.field.store
        for name in store:
            for what, values in zip(
                (name, f"moments of {name}", f"moments of {name}"), (store[name].detach(), *store.moments(name))
            ):
                if not math.isfinite(float(values.sum())) and (row := _first_bad_row(values)) is not None:
                    return f"{what} of Gaussian {row}"
        for owner, free in self._free_parameters().items():
            for name in free:
                if not bool(torch.isfinite(free[name]).all()):
                    return f"{owner} {name}"
        return None

    def _blame(self, what: str, view: int) -> _NonFiniteError:
        """The failure, laid at the door of the view before when the parameters were already bad."""
        self.field.store.clear_gradients()
        found = self._bad_parameter()
        return _NonFiniteError(what if found is None else f"{found} is not finite", view)

    def _step_back(self, failure: _NonFiniteError) -> None:
        self._failures.append(str(failure))
        if len(self._failures) >= MOST_FAILURES or self._good is None:
            raise TrainingDivergedError(
                f"training diverged at step {self.steps_done + 1}: {'; '.join(self._failures)}. Fix: check these images and "
                "their poses (`scenewise check`), or lower the learning rates; the last checkpoint is intact"
            ) from failure
        failures, seconds = list(self._failures), self.seconds
        self.restore(self._good)
        self._failures, self.seconds = failures, seconds
        self._skip_once.add(failure.culprit)
        self._good = _copy(self.checkpoint())
        view = self.views.names[failure.culprit]
        warnings.warn(f"{failure}. Stepped back to step {self.steps_done}; image {view} is left out once.", stacklevel=3)

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
        parameters = _prefixed("rows", store.parameter_tensors())
        optimizer = _prefixed("rows", store.optimizer_tensors())
        for owner, group in free.items():
            parameters |= _prefixed(owner, group.parameter_tensors())
            optimizer |= _prefixed(owner, group.optimizer_tensors())
        state = _prefixed("records", store.record_tensors())
        state |= _prefixed("random", self.random.state_tensors())
        state |= _prefixed("views", self._order.state_tensors())
        details = {
            "total_steps": self.settings.steps,
            "scene_extent": self.scene_extent,
            "seconds": self.seconds,
            "skip_once": sorted(self._skip_once),
            "failures": list(self._failures),
            "num_gaussians": len(store),
        }
        return Checkpoint(self.steps_done, parameters, optimizer, state, self.config, self.data_hash, details)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError, ShapeError: it belongs to another kind of run.
        """
        store = self.field.store
        store.load(
            _without_prefix("rows", checkpoint.parameters),
            _without_prefix("rows", checkpoint.optimizer),
            _without_prefix("records", checkpoint.state),
        )
        for owner, group in self._free_parameters().items():
            group.load(_without_prefix(owner, checkpoint.parameters), _without_prefix(owner, checkpoint.optimizer))
        self.random.load(_without_prefix("random", checkpoint.state))
        self._order.load(_without_prefix("views", checkpoint.state), self.random["views"])
        self.settings = replace(self.settings, steps=int(checkpoint.details["total_steps"]))
        self.schedule = Schedule(self.settings.steps)
        self.scene_extent = float(checkpoint.details["scene_extent"])
        self.seconds = float(checkpoint.details["seconds"])
        self._skip_once = set(checkpoint.details["skip_once"])
        self._failures = list(checkpoint.details["failures"])
        self.steps_done = checkpoint.step
        self._started = True
        if self._good is not checkpoint:
            self._good = _copy(checkpoint)


def _first_bad_row(values: Tensor) -> int | None:
    bad = ~torch.isfinite(values.reshape(values.shape[0], -1)).all(dim=1)
    return int(bad.nonzero()[0, 0]) if bool(bad.any()) else None


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _copy(checkpoint: Checkpoint) -> Checkpoint:
    def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in tensors.items()}

    return replace(
        checkpoint,
        parameters=copied(checkpoint.parameters),
        optimizer=copied(checkpoint.optimizer),
        state=copied(checkpoint.state),
        details=dict(checkpoint.details),
    )

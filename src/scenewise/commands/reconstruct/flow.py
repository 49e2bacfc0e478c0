"""The one flow of ``scenewise reconstruct``, whatever the method: capture, points, training, scene folder, figures, report."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, final

from scenewise.commands.check.run import quick_problems
from scenewise.commands.evaluate.run import Evaluated, EvaluationSettings, TrainingCost, evaluate_scene
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.planning import most_initial_points, planned, recorded
from scenewise.commands.reconstruct.summary import ReconstructSummary
from scenewise.commands.reconstruct.writing import scene_of
from scenewise.engine.checkpoints import Checkpoint, Checkpointer, latest_of_all
from scenewise.engine.data_hash import capture_hash
from scenewise.engine.devices import compute_device
from scenewise.engine.distribution import ALONE, Ranks, rank_device
from scenewise.engine.journal import Journal
from scenewise.engine.measuring import MEASURED_STEPS
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import Progress
from scenewise.engine.provenance import versions
from scenewise.errors import ConventionError
from scenewise.io.captures import open_capture, require_training_images, usable_frames
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER, POINTS_FILE, WORKERS_FOLDER, write_scene
from scenewise.io.splits import with_split
from scenewise.methods.distilled_3dgs.figures import DistillationSummary
from scenewise.methods.momentum_gs.figures import CitySummary
from scenewise.parts.points.choose import initial_points
from scenewise.parts.splats.pose_gain import pose_gain
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.reconstruction import (
    FinishedSplats,
    InSlots,
    MadePart,
    SceneTrainer,
    SplatMethod,
    SplatRun,
    SplatStart,
    timed,
)
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.training import train_splats
from scenewise.rendering.in_view import in_view, seen_by
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene
from scenewise.show.report.report import shown_views, write_report

_SECONDS_TO_WRITE, _SECONDS_A_VIEW = 2.0, 0.1
"""After training, where a time was asked for: scene and report; figures and pictures of each view beside rendering it."""


@final
class Reconstruction:
    """One reconstruction; :meth:`run` reads top to bottom, whatever the method."""

    def __init__(
        self,
        options: ReconstructOptions,
        method: SplatStart,
        progress: Progress,
        folder: Path,
        journal: Journal,
        threads: int,
        said: list[str],
        ranks: Ranks = ALONE,
    ) -> None:
        self.options, self.method, self.progress, self.ranks = options, method, progress, ranks
        self.folder, self.journal, self.threads, self.said = folder, journal, threads, said
        self.device = rank_device(compute_device(options.device))
        own = folder if ranks.is_first else folder / WORKERS_FOLDER / str(ranks.rank)
        self.checkpointer = Checkpointer(own / CHECKPOINTS_FOLDER)

    def run(self) -> ReconstructSummary:
        """Capture → points → field and trainer → scene folder → figures → report."""
        started = time.monotonic()
        capture, data_hash = self._read_capture()
        self.ranks.require_same("capture and options", f"{data_hash} {recorded(self.options, SplatRecipe())}")
        planned_from = self._newest() if self.method.keeps_cap else None
        run = self._planned(capture, data_hash, planned_from)
        splats = self.method.begin(run)
        points, provenance = splats.points(lambda: self._initial_points(capture, run.recipe), planned_from)
        setup_seconds = time.monotonic() - started
        part = splats.prepare(points)
        if part is not None:
            return self._part_summary(part, provenance, setup_seconds)
        started = time.monotonic()
        found = planned_from if self.method.keeps_cap else self._newest()
        trainer = self._trainer(splats, run, points, provenance, found)
        setup_seconds += time.monotonic() - started
        self._train(trainer, setup_seconds, len(capture.test_frames))
        self.journal.write("trained", step=trainer.steps_done, peak_memory_bytes=peak_resident_bytes())
        moved = self._refinement(trainer)
        finished = splats.finish(trainer)
        scene = self._write(capture, trainer, finished, data_hash)
        evaluated = self._evaluate(scene, capture, trainer, finished)
        peak = self._end(capture, trainer, scene, evaluated, finished)
        return ReconstructSummary(
            self.folder,
            len(finished.gaussians),
            trainer.steps_done,
            finished.seconds,
            setup_seconds,
            provenance,
            peak,
            run.recipe.strategy.max_gaussians if self.method.fits_capture else None,
            None if evaluated is None else evaluated.card,
            moved,
            finished.more if isinstance(finished.more, DistillationSummary) else None,
            finished.more if isinstance(finished.more, CitySummary) else None,
            tuple(dict.fromkeys(self.said)),
        )

    def help(self) -> ReconstructSummary:
        """What a process does that is not the first: it trains its share, and brings it."""
        started = time.monotonic()
        capture, data_hash = self._read_capture()
        self.ranks.require_same("capture and options", f"{data_hash} {recorded(self.options, SplatRecipe())}")
        found = self._newest()
        run = self._planned(capture, data_hash, found)
        splats = self.method.begin(run)
        points, provenance = splats.points(lambda: self._initial_points(capture, run.recipe), found)
        splats.prepare(points)
        trainer = self._trainer(splats, run, points, provenance, found)
        setup_seconds = time.monotonic() - started
        self._train(trainer, setup_seconds, 0)
        own = splats.finish(trainer)
        self.journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak_resident_bytes())
        part = MadePart(self.folder, len(own.gaussians), trainer.steps_done, own.seconds)
        return self._part_summary(part, provenance, setup_seconds)

    def _part_summary(self, part: MadePart, provenance: str, setup_seconds: float) -> ReconstructSummary:
        """Of a part that was made alone, for example on a machine of its own."""
        peak = peak_resident_bytes()
        return ReconstructSummary(
            part.folder, part.num_gaussians, part.steps, part.seconds, setup_seconds, provenance, peak, None, None, None
        )

    # ------------------------------------------------------------------------------------------------------------------ planning

    def _read_capture(self) -> tuple[Capture, str]:
        options = self.options
        self.journal.write("start", command="reconstruct", options=asdict(options), versions=versions())
        with self._stage("read the capture"):
            capture = open_capture(
                options.capture,
                preset=options.preset,
                factor=options.downscale,
                background=options.background,
                alpha=options.alpha,
            )
            usable_frames(capture, options.strict)
            capture = with_split(capture, options.split)
            require_training_images(capture)
            masked = sum(frame.load_mask is not None for frame in capture.frames_with_image)
            if masked:
                self.progress.message(f"masks leave out parts of {masked} of {len(capture.frames_with_image)} photographs")
            self._tell_problems(capture)
            return capture, capture_hash(capture)

    def _tell_problems(self, capture: Capture) -> None:
        """What ``scenewise check`` would warn about, as far as it shows without decoding the photographs.

        Raises:
            ConventionError: there is some, and ``--strict`` refuses it.
        """
        problems = quick_problems(capture, threads=self.threads, progress=self.progress)
        if problems and self.options.strict:
            raise ConventionError(
                str(self.options.capture),
                expected="a capture without errors and warnings",
                got="; ".join(problem.message for problem in problems),
                fix=problems[0].fix,
            )
        for problem in problems:
            text = f"{problem.message}; {problem.fix}"
            self.said.append(text)
            self.journal.write("warning", message=text)
            self.progress.message(f"warning: {text}")

    def _newest(self) -> Checkpoint | None:
        """The checkpoint to go on from, or None: of several processes the newest that all of them have."""
        found = self.checkpointer.latest() if self.options.resume else None
        return latest_of_all(self.checkpointer, found, self.ranks)

    def _planned(self, capture: Capture, data_hash: str, found: Checkpoint | None) -> SplatRun:
        options = self.options
        recipe, cache_bytes = planned(options, capture, self.progress, self.method, found)
        return SplatRun(
            name=options.capture.resolve().name,
            capture=capture,
            data_hash=data_hash,
            folder=self.folder,
            recipe=recipe,
            cache_bytes=cache_bytes,
            device=self.device,
            threads=options.threads,
            seed=options.seed,
            minutes=options.minutes,
            downscale=options.downscale,
            max_gaussians=options.max_gaussians,
            checkpoint_every=options.checkpoint_every,
            journal=self.journal,
            progress=self.progress,
            steps=options.steps,
            budget=options.budget_bytes,
            ranks=self.ranks,
        )

    def _initial_points(self, capture: Capture, recipe: SplatRecipe) -> tuple[PointCloud, str]:
        with self._stage("initial points"):
            found = initial_points(
                self._full_size(capture),
                maximum=most_initial_points(recipe),
                seed=self.options.seed,
                threads=self.threads,
                progress=self.progress,
            )
        self.progress.message(found.provenance)
        write_points_ply(self.folder / POINTS_FILE, found.cloud)
        return found.cloud, found.provenance

    def _full_size(self, capture: Capture) -> Capture:
        """The capture at full size where points must come from feature matches: small images have few features."""
        options = self.options
        has_depth = any(frame.load_depth is not None for frame in capture.train_frames)
        if options.downscale in (None, 1) or capture.points is not None or has_depth:
            return capture
        whole = open_capture(options.capture, preset=options.preset, background=options.background, alpha=options.alpha)
        return with_split(whole, options.split)

    # ------------------------------------------------------------------------------------------------------------------ training

    def _trainer(
        self, splats: SplatMethod, run: SplatRun, points: PointCloud | None, provenance: str, found: Checkpoint | None
    ) -> SceneTrainer:
        """The trainer with its photographs decoded."""
        if found is not None:
            self.journal.write("resume", step=found.step)
            self.progress.message(f"{self.method.spoken}going on from step {found.step:,}")
        record: dict[str, Any] = recorded(self.options, run.recipe) | dict(splats.record()) | {"initial_points": provenance}
        trainer = splats.trainer(points, record, found)
        if isinstance(trainer, SplatTrainer):
            with self._stage("decode the photographs"):
                trainer.views.preload(self.threads)
        return trainer

    def _train(self, trainer: SceneTrainer, setup_seconds: float, views_after: int) -> None:
        every = self.options.checkpoint_every
        run = partial(
            train_splats,
            trainer,
            checkpointer=self.checkpointer,
            journal=self.journal,
            progress=self.progress,
            checkpoint_every=min(every, trainer.slot_steps) if isinstance(trainer, InSlots) else every,
        )
        if self.options.minutes is not None and isinstance(trainer, SplatTrainer):
            self._train_first_half(trainer, run, 60.0 * self.options.minutes - setup_seconds, views_after)
        run()

    def _train_first_half(self, trainer: SplatTrainer, run: Callable[..., None], seconds: float, views_after: int) -> None:
        """Plans a run that fills the time, and plans what is left of it anew half-way: nobody knows at first how many Gaussians
        there will be, but then density control is over.

        Args:
            trainer: at any step.
            run: trains it up to a step.
            seconds: of training and of what comes after it.
            views_after: pictures that will be evaluated.
        """
        minutes = self.options.minutes
        if trainer.steps_done == 0:
            with self._stage("measure the speed"):
                trainer.set_total_steps(trainer.measure(seconds))
            self.progress.message(f"{minutes:g} minutes are enough for about {trainer.settings.steps:,} steps")
        half = trainer.total_steps // 2
        if trainer.schedule.turn is not None or trainer.steps_done >= half - MEASURED_STEPS:
            return
        run(until=half - MEASURED_STEPS, stage="train, first half")
        before = trainer.seconds
        trainer.run(until=half)
        each = (trainer.seconds - before) / MEASURED_STEPS
        after = _SECONDS_TO_WRITE + views_after * (_SECONDS_A_VIEW + each)
        rest, planned = int((seconds - trainer.seconds - after) / each), trainer.total_steps - half
        trainer.turn(half + max(planned // 2, min(3 * planned, rest)))
        self.journal.write("plan", step=half, planned=half + planned, steps=trainer.total_steps, step_seconds=each)
        self.progress.message(f"{minutes:g} minutes: {trainer.total_steps:,} steps in all")

    def _refinement(self, trainer: SceneTrainer) -> dict[str, float] | None:
        if not isinstance(trainer, SplatTrainer) or trainer.pose_refinement is None:
            return None
        moved = asdict(trainer.pose_refinement.correction()) | pose_gain(trainer)
        self.journal.write("pose_refinement", **moved)
        return moved

    # ------------------------------------------------------------------------------------------------------------------- writing

    def _write(self, capture: Capture, trainer: SceneTrainer, finished: FinishedSplats, data_hash: str) -> Scene:
        with self._stage("write the scene"):
            scene = scene_of(self.options, capture, trainer, finished, data_hash)
            write_scene(self.folder, scene, rows=finished.gaussians)
        return scene

    def _evaluate(self, scene: Scene, capture: Capture, trainer: SceneTrainer, finished: FinishedSplats) -> Evaluated | None:
        """Figures of the held-out views, where there are any."""
        if not capture.test_frames:
            return None
        shown = frozenset(entry.name for entry in shown_views(scene))  # the report shows these
        with timed(self.journal, "evaluate"):
            evaluated = evaluate_scene(
                self.folder,
                EvaluationSettings(device=self.device, keep=shown),
                scene=scene,
                capture=capture,
                seen_by=seen_by(finished.gaussians, self.device, room=finished.room),
                cost=TrainingCost(finished.seconds, peak_resident_bytes()),
                progress=self.progress,
            )
        card = evaluated.card
        self.journal.write("evaluation", step=trainer.steps_done, psnr=card.psnr, ssim=card.ssim)
        return evaluated

    def _end(
        self, capture: Capture, trainer: SceneTrainer, scene: Scene, evaluated: Evaluated | None, finished: FinishedSplats
    ) -> int:
        peak = peak_resident_bytes()
        self.journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak)
        with timed(self.journal, "report"):
            write_report(
                self.folder,
                scene=scene if evaluated is None else evaluated.scene,
                capture=capture,
                renders=None if evaluated is None else evaluated.renders,
                seen_by=lambda camera: in_view(finished.gaussians, camera),
                progress=self.progress,
            )
        return peak

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        with timed(self.journal, name), self.progress.stage(name):
            yield

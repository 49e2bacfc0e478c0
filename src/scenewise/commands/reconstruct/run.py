"""``scenewise reconstruct``: from a captured folder to a scene folder."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from scenewise.commands.evaluate.run import Evaluated, EvaluationSettings, TrainingCost, evaluate_scene
from scenewise.commands.reconstruct.distill import (
    TEACHERS_FOLDER,
    DistillationStages,
    DistillationSummary,
    detached,
    distilled_config,
    spec_of,
)
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.splat_training import train_splats
from scenewise.commands.shared import PAPER_FROM_STEPS
from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.data_hash import capture_hash
from scenewise.engine.devices import compute_device
from scenewise.engine.jobs import end_with_parent
from scenewise.engine.journal import Journal
from scenewise.engine.memory import cap_within_budget, peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.ply import write_points_ply
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER, POINTS_FILE, prepare_output, write_scene
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.parts.points.choose import initial_points
from scenewise.parts.splats.building import build_trainer
from scenewise.parts.splats.exposure import ExposureSettings
from scenewise.parts.splats.memory import decoded_bytes, training_memory
from scenewise.parts.splats.pose_refinement import PoseRefinementSettings
from scenewise.parts.splats.recipes import SplatRecipe, with_cap
from scenewise.parts.splats.strategies import DefaultStrategy
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import EvaluationCard, Provenance, Scene, SceneCamera
from scenewise.show.report.report import shown_views, write_report

LOG_FILE = "log.jsonl"
FEWEST_GAUSSIANS = 2_000
"""A budget that allows fewer is refused: nothing recognisable would come of it."""
PIXELS_PER_GAUSSIAN = 4
"""Without a cap of the user's own there is never more than one Gaussian for this many training pixels: more would learn them
by heart.
"""
INITIAL_SHARE = 0.5
"""Part of the cap that initial points may fill; the rest is for densification, which knows better where detail is missing."""
_MOST_INITIAL_POINTS = 500_000
_NO_CAP = 5_000_000
_CACHE_BYTES = 1_000_000_000
_CACHE_SHARE = 0.3  # of a memory budget
ABSGRAD_THRESHOLD = 8e-4
"""Sums of absolute gradients are larger than the absolute sum (Ye et al. 2024, section 4)."""


@dataclass(frozen=True)
class ReconstructSummary:
    """What ``scenewise reconstruct`` made.

    Attributes:
        scene: the scene folder.
        num_gaussians: size of the scene.
        steps: optimiser steps.
        seconds: training time, earlier sessions included.
        setup_seconds: reading the capture and finding initial points.
        initial_points: where the first Gaussians came from.
        peak_memory_bytes: of this process.
        evaluation: figures on held-out views, or None where none are held out.
        pose_refinement: how far poses moved and what it brought, or None.
        distillation: teachers, sizes and what all of it cost, or None.
    """

    scene: Path
    num_gaussians: int
    steps: int
    seconds: float
    setup_seconds: float
    initial_points: str
    peak_memory_bytes: int
    evaluation: EvaluationCard | None
    pose_refinement: Mapping[str, float] | None = None
    distillation: DistillationSummary | None = None

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.scene}: {self.num_gaussians:,} Gaussians after {self.steps:,} steps in {duration_text(self.seconds)} "
            f"(preparation {duration_text(self.setup_seconds)}), {text_from_bytes(self.peak_memory_bytes)} of memory at most",
            f"started from {self.initial_points}",
        ]
        card = self.evaluation
        if card is not None and card.psnr is not None and card.ssim is not None:
            lines.append(f"PSNR {card.psnr:.2f} dB, SSIM {card.ssim:.4f} on {card.num_views} held-out views")
        if self.pose_refinement is not None:
            lines.append(
                "poses: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.pose_refinement.items())
            )
        if self.distillation is not None:
            lines += self.distillation.lines()
        return "\n".join(lines)


def reconstruct(options: ReconstructOptions, progress: Progress | None = None) -> ReconstructSummary:
    """Trains Gaussian splats from a capture and writes the scene folder.

    Raises:
        DataFormatError: the capture cannot be read, or the output folder is in use.
        ConventionError: ``resume`` with other options or other data.
        ResourceError: memory or disk do not suffice.
        TrainingDivergedError: training fails again and again.
    """
    progress = NullProgress() if progress is None else progress
    only_teacher = options.distillation.only_teacher
    # Several machines may train one teacher each in the same folder, whoever comes first.
    is_shared = only_teacher is not None and not options.overwrite
    folder = prepare_output(options.out, overwrite=options.overwrite, resume=options.resume or is_shared)
    diary = folder / LOG_FILE if only_teacher is None else folder / TEACHERS_FOLDER / only_teacher / "job.jsonl"
    end_with_parent()
    with Journal(diary) as journal, _journaled_warnings(journal), compute_threads(options.threads) as threads:
        run = _Reconstruction(options, progress, folder, journal, threads)
        return run.run() if options.method == "gaussian_splatting" else run.run_distilled()


@final
class _Reconstruction:
    """The stages of one reconstruction; each reads top to bottom in :meth:`run`."""

    def __init__(self, options: ReconstructOptions, progress: Progress, folder: Path, journal: Journal, threads: int) -> None:
        self.options, self.progress, self.folder, self.journal, self.threads = options, progress, folder, journal, threads
        self.device = compute_device(options.device)
        self.checkpointer = Checkpointer(folder / CHECKPOINTS_FOLDER)

    def _read_capture(self) -> tuple[Capture, str]:
        options = self.options
        self.journal.write("start", command="reconstruct", options=asdict(options), versions=versions())
        with self._stage("read the capture"):
            capture = open_capture(
                options.capture, preset=options.preset, factor=options.downscale, background=options.background
            )
            usable_frames(capture, options.strict)
            return capture, capture_hash(capture)

    def run(self) -> ReconstructSummary:
        """All stages of plain Gaussian splatting in order."""
        options = self.options
        started = time.monotonic()
        capture, data_hash = self._read_capture()
        found = self.checkpointer.latest() if options.resume else None
        config, cache_bytes = self._plan(capture, found, max_gaussians=options.max_gaussians)
        record = self._record(config)
        if found is None:
            points, provenance = self._initial_points(capture, config)
        else:
            points, provenance = None, str(found.config["initial_points"])
            record |= {"initial_points": provenance}
            self.journal.write("resume", step=found.step)
            self.progress.message(f"going on from step {found.step:,}")
        trainer = build_trainer(
            capture,
            points,
            config,
            seed=options.seed,
            device=self.device,
            data_hash=data_hash,
            record=record | {"initial_points": provenance},
            cache_bytes=cache_bytes,
            resume_from=found,
        )
        with self._stage("decode the photographs"):
            trainer.views.preload(self.threads)
        setup_seconds = time.monotonic() - started
        self._train(trainer)
        moved = self._refinement(trainer)
        gaussians = detached(trainer.field.gaussians())
        written, evaluated = self._write(capture, trainer, gaussians, data_hash)
        peak = self._end(trainer, capture, written, evaluated)
        return ReconstructSummary(
            self.folder,
            len(gaussians),
            trainer.steps_done,
            trainer.seconds,
            setup_seconds,
            provenance,
            peak,
            None if evaluated is None else evaluated.card,
            moved,
        )

    def run_distilled(self) -> ReconstructSummary:
        """All stages of Distilled-3DGS in order: teachers, their pictures, the student, the curve."""
        options = self.options
        started = time.monotonic()
        capture, data_hash = self._read_capture()
        # The dial of a distilled run is the student's; teachers have their own cap.
        recipe, cache_bytes = self._plan(capture, None, max_gaussians=options.distillation.teacher_gaussians)
        scene = options.capture.resolve().name
        stages = DistillationStages(
            options,
            distilled_config(options, recipe, scene=scene, data_set=capture.preset),
            capture,
            self.folder,
            data_hash=data_hash,
            cache_bytes=cache_bytes,
            device=self.device,
            journal=self.journal,
            progress=self.progress,
        )
        points, provenance = stages.plan(lambda: self._initial_points(capture, recipe)[1])
        setup_seconds = time.monotonic() - started
        if options.distillation.only_teacher is not None:
            return self._only_teacher(stages, points, provenance, setup_seconds)
        with self._timed("teachers"):
            teachers = stages.teachers(points)
            pictures, vanilla = stages.prepare_student(teachers)
        found = self.checkpointer.latest() if options.resume else None
        if found is not None:
            self.journal.write("resume", step=found.step)
            self.progress.message(f"student: going on from step {found.step:,}")
        trainer = stages.student(
            None if found is not None else points,
            pictures,
            vanilla,
            record=self._record(recipe) | stages.student_record() | {"initial_points": provenance},
            resume_from=found,
        )
        with self._stage("decode the photographs"):
            trainer.views.preload(self.threads)
        self._train(trainer)
        curve = stages.train_curve(points, pictures, vanilla)
        gaussians = stages.fitted(detached(trainer.field.gaussians()))
        summary = stages.summary(teachers, gaussians, student_seconds=trainer.seconds, curve=curve)
        written, evaluated = self._write(capture, trainer, gaussians, data_hash, seconds=summary.seconds)
        peak = self._end(trainer, capture, written, evaluated)
        return ReconstructSummary(
            self.folder,
            len(gaussians),
            trainer.steps_done,
            summary.seconds,
            setup_seconds,
            provenance,
            peak,
            None if evaluated is None else evaluated.card,
            None,
            summary,
        )

    def _only_teacher(
        self, stages: DistillationStages, points: PointCloud, provenance: str, setup_seconds: float
    ) -> ReconstructSummary:
        """One teacher, for a machine of its own."""
        name = self.options.distillation.only_teacher
        assert name is not None
        done = stages.one_teacher(spec_of(name), points)
        return ReconstructSummary(
            done.folder,
            done.num_gaussians,
            done.steps,
            done.seconds,
            setup_seconds,
            provenance,
            peak_resident_bytes(),
            None,
            None,
        )

    def _end(self, trainer: SplatTrainer, capture: Capture, scene: Scene, evaluated: Evaluated | None) -> int:
        peak = peak_resident_bytes()
        self.journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak)
        with self._timed("report"):
            write_report(
                self.folder,
                scene=scene,
                capture=capture,
                renders=None if evaluated is None else evaluated.renders,
                progress=self.progress,
            )
        return peak

    # ------------------------------------------------------------------------------------------------------------------ planning

    def _plan(self, capture: Capture, found: Checkpoint | None, *, max_gaussians: int | None) -> tuple[SplatRecipe, int]:
        """The method's settings with the cap that the budget allows, and the size of the decode cache."""
        options = self.options
        config = recipe_from_options(options, data_set=capture.preset, max_gaussians=max_gaussians)
        budget = options.budget_bytes
        frames = capture.train_frames
        limit = _CACHE_BYTES if budget is None else int(_CACHE_SHARE * budget)
        cache_bytes = min(limit, decoded_bytes(frames, config.resolution.factors))
        has_points = capture.points is not None and len(capture.points) > 0
        matches = not has_points and all(frame.load_depth is None for frame in frames)
        estimate = training_memory(frames, sh_degree=options.sh_degree, cache_bytes=cache_bytes, matches=matches)
        if max_gaussians is None:
            few_pixels = max(FEWEST_GAUSSIANS, _pixels(frames) // PIXELS_PER_GAUSSIAN)
            config = with_cap(config, min(config.strategy.max_gaussians or _NO_CAP, few_pixels))
        wanted = config.strategy.max_gaussians
        cap, allowed = cap_within_budget(
            estimate, budget, wanted=wanted, at_least=min(FEWEST_GAUSSIANS, wanted or FEWEST_GAUSSIANS)
        )
        if found is not None:
            cap = found.config["strategy"]["max_gaussians"]
        shown = cap if cap is not None else 500_000
        self.progress.message(f"memory: about {estimate.text(shown)}")
        if allowed is not None and (wanted is None or allowed < wanted):
            self.progress.message(f"the budget of {text_from_bytes(float(budget or 0))} allows {allowed:,} Gaussians")
        return with_cap(config, cap), cache_bytes

    def _record(self, config: SplatRecipe) -> dict[str, Any]:
        """What a resumed run must have in common with this one."""
        options = self.options
        return {
            "method": options.method,
            "seed": options.seed,
            "minutes": options.minutes,
            "downscale": options.downscale,
            "budget": options.budget,
            "strategy_name": options.strategy,
            **asdict(config),
        }

    def _initial_points(self, capture: Capture, config: SplatRecipe) -> tuple[PointCloud, str]:
        cap = config.strategy.max_gaussians
        limits = (config.max_initial_points, None if cap is None else max(1, int(INITIAL_SHARE * cap)), _MOST_INITIAL_POINTS)
        most = min(limit for limit in limits if limit is not None)
        with self._stage("initial points"):
            found = initial_points(
                self._full_size(capture),
                maximum=most,
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
        return open_capture(options.capture, preset=options.preset, background=options.background)

    # ------------------------------------------------------------------------------------------------------------------ training

    def _train(self, trainer: SplatTrainer) -> None:
        options = self.options
        if options.minutes is not None and trainer.steps_done == 0:
            with self._stage("measure the speed"):
                trainer.set_total_steps(trainer.measure(60.0 * options.minutes))
            self.progress.message(f"{options.minutes:g} minutes are enough for {trainer.settings.steps:,} steps")
        train_splats(
            trainer,
            checkpointer=self.checkpointer,
            journal=self.journal,
            progress=self.progress,
            checkpoint_every=options.checkpoint_every,
        )

    def _refinement(self, trainer: SplatTrainer) -> dict[str, float] | None:
        if trainer.pose_refinement is None:
            return None
        moved = asdict(trainer.pose_refinement.correction()) | trainer.pose_gain()
        self.journal.write("pose_refinement", **moved)
        return moved

    # ------------------------------------------------------------------------------------------------------------------- writing

    def _write(
        self,
        capture: Capture,
        trainer: SplatTrainer,
        gaussians: Gaussians,
        data_hash: str,
        *,
        seconds: float | None = None,
    ) -> tuple[Scene, Evaluated | None]:
        """Writes the scene and measures it on the held-out views, where there are any."""
        with self._stage("write the scene"):
            scene = Scene(
                load_gaussians=lambda: gaussians,
                num_gaussians=len(gaussians),
                sh_degree=gaussians.sh_degree,
                cameras=_scene_cameras(capture, trainer),
                provenance=Provenance(
                    capture=str(self.options.capture.resolve()),
                    source_format=capture.source_format,
                    preset=capture.preset,
                    data_hash=data_hash,
                    method=self.options.method,
                    config=trainer.config | {"total_steps": trainer.settings.steps},
                    versions=versions(),
                    git_commit=git_commit(),
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                ),
                scale=capture.scale,
                up_in_world=capture.up_in_world,
                world_from_source=capture.world_from_source,
                georeference=capture.georeference,
                background=capture.background,
                licences={}
                if capture.preset is None and capture.licence is None
                else {capture.preset or "capture": capture.licence},
            )
            write_scene(self.folder, scene)
        if not capture.test_frames:
            return scene, None
        shown = frozenset(entry.name for entry in shown_views(scene))  # the report shows these
        with self._timed("evaluate"):
            evaluated = evaluate_scene(
                self.folder,
                EvaluationSettings(device=self.device, keep=shown),
                scene=scene,
                capture=capture,
                cost=TrainingCost(trainer.seconds if seconds is None else seconds, peak_resident_bytes()),
                progress=self.progress,
            )
        card = evaluated.card
        self.journal.write("evaluation", step=trainer.steps_done, psnr=card.psnr, ssim=card.ssim)
        return evaluated.scene, evaluated

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        with self._timed(name), self.progress.stage(name):
            yield

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """A stage of the diary; for work that shows its own progress."""
        started = time.monotonic()
        yield
        self.journal.write("stage", name=name, seconds=time.monotonic() - started)


@contextmanager
def _journaled_warnings(journal: Journal) -> Iterator[None]:
    """Writes every warning into the run's diary, and passes it on."""
    with warnings.catch_warnings():
        pass_on = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            journal.write("warning", message=str(message))
            pass_on(message, category, *rest, **more)

        warnings.showwarning = show
        yield


def _pixels(frames: Sequence[Frame]) -> int:
    return sum(frame.camera.width * frame.camera.height for frame in frames)


def _scene_cameras(capture: Capture, trainer: SplatTrainer) -> tuple[SceneCamera, ...]:
    """The cameras of all photographs, those of the training views as refined."""
    refined: dict[str, Cameras] = {}
    if trainer.pose_refinement is not None:
        for index, (name, camera) in enumerate(zip(trainer.views.names, trainer.views.cameras)):
            refined[name] = trainer.pose_refinement.refined_camera(camera, index)
    return tuple(
        SceneCamera(frame.name, refined.get(frame.name, frame.camera), "test" if frame.name in capture.test_names else "train")
        for frame in capture.frames_with_image
    )


def recipe_from_options(options: ReconstructOptions, *, data_set: str | None, max_gaussians: int | None = None) -> SplatRecipe:
    """The settings of splatting that a command line asks for, with this cap unless it is None."""
    long_run = options.steps is not None and options.steps >= PAPER_FROM_STEPS
    config = preset("paper_30k" if long_run else "fast", data_set=data_set, strategy=options.strategy)
    config = replace(
        config,
        steps=config.steps if options.steps is None else options.steps,
        sh=replace(config.sh, highest=options.sh_degree),
        exposure=ExposureSettings() if options.exposure_compensation else None,
        pose_refinement=PoseRefinementSettings() if options.pose_refinement else None,
    )
    if options.absgrad:
        if not isinstance(config.strategy, DefaultStrategy):
            raise ConventionError(
                "--absgrad", expected="--strategy default", got=f"--strategy {options.strategy}", fix="leave it out"
            )
        config = replace(config, strategy=replace(config.strategy, absgrad=True, grow_gradient=ABSGRAD_THRESHOLD))
    return with_cap(config, max_gaussians)

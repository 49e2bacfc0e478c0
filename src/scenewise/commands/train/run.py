"""``scenewise train``: from pictures and class names to a network that names points."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final

import torch

from scenewise.catalogue import Overrides, method_named, method_recipe
from scenewise.commands.train.model_card import Training, model_card
from scenewise.commands.train.options import TrainOptions
from scenewise.commands.training_words import numbers_text
from scenewise.commands.vocabularies import vocabulary_asked_for
from scenewise.engine.devices import compute_device
from scenewise.engine.distribution import Ranks, joined_ranks, rank_device
from scenewise.engine.folder_runs import FolderRun
from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import Rhythm, StepReport
from scenewise.engine.training import train as train_to_end
from scenewise.errors import CaptureWarning
from scenewise.io.atomic import atomic_write_text
from scenewise.io.run_folder import (
    MODEL_CARD_FILE,
    RUN_VOCABULARY_FILE,
    RunConfig,
    RunNetwork,
    RunStart,
    is_run_folder,
    prepare_run_folder,
    read_run_config,
    require_place_for_run,
    write_run_config,
)
from scenewise.io.scan_data_sets import is_scan_data_set, read_scan_data_set
from scenewise.io.vocabularies import write_vocabulary
from scenewise.parts.labelfree.initialisation import PretrainedBackbone, load_backbone, pretrained_backbone
from scenewise.parts.labelfree.recipes import Recipe
from scenewise.parts.labelfree.settings import BackboneName
from scenewise.parts.labelfree.students import parameter_count
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.parts.scans.data_sets import instruments_of, prepare_data
from scenewise.parts.scans.scan_files import ScanSet
from scenewise.parts.scans.settings import PreparationSettings, SegmentKind
from scenewise.parts.sources.opening import has_splits, open_scans
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.sources.segmented_scans import with_segments
from scenewise.parts.sources.truths import vocabulary_of_sources
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import EMBEDDED, open_choice, read_out_text, with_absolute_folder, with_absolute_folders
from scenewise.teachers.from_files import FilesTeacher
from scenewise.teachers.protocol import Teacher
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE

_CACHE = "cache"
_REPORTS_PER_EPOCH = 10


@dataclass(frozen=True)
class TrainSummary:
    """What a training gave.

    Attributes:
        folder: of the run.
        method: that was trained.
        scans: trained on.
        steps: in all.
        epochs: passes over the scans.
        loss: of the last step.
        terms: unweighted losses of the last step.
        parameters_trained: numbers that moved.
        parameters_deployed: numbers of the 3D network, which is what is kept.
        seconds: of training, earlier sessions included.
        share_preparing: of that time in which batches were read and augmented.
        prepare_seconds: of asking the teacher, or of finding its answers.
        peak_memory_bytes: of this process.
    """

    folder: Path
    method: str
    scans: int
    steps: int
    epochs: int
    loss: float | None
    terms: Mapping[str, float]
    parameters_trained: int
    parameters_deployed: int
    seconds: float
    share_preparing: float
    prepare_seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        loss = "" if self.loss is None else f", loss {self.loss:.4g}"
        return (
            f"{self.method} trained on {self.scans} scans: {self.steps} steps, {self.epochs} epochs in "
            f"{duration_text(self.seconds)}{loss}\n"
            f"{numbers_text(self.parameters_trained, self.parameters_deployed, self.peak_memory_bytes)}\n"
            f"name a cloud with it: scenewise predict {self.folder} CLOUD --out SCENE"
        )


def train(options: TrainOptions, progress: Progress | None = None, teacher: Teacher | None = None) -> TrainSummary | None:
    """Prepares scans, trains a method on them and writes a run folder.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of ``options.teacher``.

    Returns:
        What came out; None on all processes but the first.

    Raises:
        ConventionError: an unknown method or preset, options that do not fit, another run than the one to resume.
        DataFormatError: data that cannot be read or is incomplete (the message names what is missing), a folder in use.
        ResourceError: the teacher cannot be reached, or memory or disk do not suffice.
        TrainingDivergedError: the loss became NaN or infinite.
    """
    progress = NullProgress() if progress is None else progress
    start = None if options.init is None else pretrained_backbone(with_absolute_folder(options.init))
    recipe = method_recipe(options.method, options.preset, overrides_of(options, start))
    if start is not None:
        start.require_fitting(str(recipe.config["backbone"]), float(recipe.config["width"]), recipe.build_points)
    device = rank_device(compute_device(options.device))
    with joined_ranks(device) as ranks, compute_threads(options.threads):
        if not ranks.is_first:
            progress = NullProgress()
        else:
            require_place_for_run(options.out, overwrite=options.overwrite, resume=options.resume)
        keep_freed_memory()
        began = time.monotonic()
        split = _split_of(options)
        sources = open_scans(options.data, split)
        if options.segments_path is not None:
            sources = with_segments(sources, options.segments_path)
        asked = open_choice(with_absolute_folders(_teacher_choice(options))) if teacher is None else teacher
        vocabulary = _vocabulary(options, sources, asked)
        if ranks.is_first:
            prepare_run_folder(options.out, overwrite=options.overwrite)
        else:
            ranks.wait()  # the first prepares, the others find it prepared
        preparation = preparation_of(options)
        scans = prepare_data(
            sources,
            instruments_of(asked, vocabulary, preparation, device=str(device)),
            preparation,
            options.cache or options.out / _CACHE,
            progress,
            words=asked.words if isinstance(asked, FilesTeacher) else None,
        )
        if ranks.is_first:
            ranks.wait()
        prepare_seconds = time.monotonic() - began
        config = run_config(options, recipe, scans, asked, sources[0], split, start)
        if asked.name in EMBEDDED and GENERATED_LICENCE not in config.licences.values() and ranks.is_first:
            warnings.warn(
                f"{asked.name} has only ever seen procedural rooms: on {options.data} a network learns wrong names from it. "
                "Teachers that know photographs: --teacher openai/clip-vit-base-patch16, or --teacher files:DIR",
                CaptureWarning,
                stacklevel=2,
            )
        run = _Run(options, recipe, scans, config, ranks, device, progress)
        if start is not None:
            start.require_inputs(config.network.inputs)
            load_backbone(run.trainer.points, start.state)
        return run.train(prepare_seconds)


def overrides_of(options: TrainOptions, start: PretrainedBackbone | None = None) -> dict[str, Any]:
    """What the options change of a method's preset, by the names of its settings; the network is the start's unless told."""
    width, backbone = options.width, options.backbone
    if start is not None:
        width = start.width if width is None else width
        backbone = cast(BackboneName, start.backbone) if backbone is None else backbone
    general = Overrides(
        epochs=options.epochs,
        width=width,
        voxel=options.voxel,
        batch_scans=options.batch,
        learning_rate=options.learning_rate,
        backbone=backbone,
        views_per_step=options.views_per_step,
    )
    return {**general.given(), **options.settings.get(options.method, {})}


def preparation_of(options: TrainOptions) -> PreparationSettings:
    """How the scans are prepared."""
    needs = method_named(options.method).needs
    return PreparationSettings(
        picture_width=options.picture_width,
        most_views=options.views,
        segments="shipped" if options.segments_path is not None else cast(SegmentKind, options.segments),
        regions=needs.regions if options.regions is None else options.regions,
        targets=needs.targets if options.targets is None else options.targets,
        pictures=needs.pictures,
    )


def _split_of(options: TrainOptions) -> str | None:
    """The split that was asked for, whatever the data; else train, where there are splits."""
    if options.split is not None:
        return options.split
    return "train" if has_splits(options.data) else None


def _teacher_choice(options: TrainOptions) -> TeacherChoice:
    """With the method's read-out, or on resume the one the run was started with: earlier runs took what suits the teacher."""
    choice = options.teacher_choice
    if not options.resume or not is_run_folder(options.out):
        return choice
    recorded = read_run_config(options.out).read_out
    return replace(choice, method_read_out=None if recorded is None else recorded.partition("(")[0])


def run_config(
    options: TrainOptions,
    recipe: Recipe,
    scans: ScanSet,
    teacher: Teacher,
    first: ScanSource,
    split: str | None,
    start: PretrainedBackbone | None = None,
) -> RunConfig:
    """Everything that decides a run, and what its folder says of itself."""
    settings = dict(recipe.config)
    return RunConfig(
        method=options.method,
        preset=options.preset,
        seed=options.seed,
        precision=options.precision,
        network=RunNetwork(
            backbone=str(settings["backbone"]),
            width=float(settings["width"]),
            in_channels=int(scans[0].inputs.shape[1]),
            inputs=scans.summaries[0].inputs,
            dim=int(scans.text.shape[1]),
            voxel=recipe.voxel,
        ),
        settings=settings,
        data={"path": str(options.data), "split": split, **scans.report()},
        teacher=teacher.name,
        licences={
            teacher.name: teacher.licence,
            **({} if start is None else {start.name: start.licence}),
            **_data_licence(options.data, first),
        },
        versions=versions(),
        git_commit=git_commit(),
        read_out=read_out_text(teacher),
        init=None if start is None else RunStart(start.name, start.fingerprint),
    )


def _data_licence(path: Path, first: ScanSource) -> dict[str, str | None]:
    capture = first.capture()
    licence = None if capture is None else capture.licence
    if is_scan_data_set(path):
        licence = read_scan_data_set(path).licence
    return {path.name or str(path): licence}


def _vocabulary(options: TrainOptions, sources: Sequence[ScanSource], teacher: Teacher) -> Vocabulary:
    """Asked for, else the data set's names, else the teacher's."""
    if options.classes is None and sources[0].class_names:
        return vocabulary_of_sources(sources, teacher.default_templates())
    return vocabulary_asked_for(options.classes, teacher)


@final
class _Run:
    """A trainer, its folder, and who is told how it goes."""

    def __init__(
        self,
        options: TrainOptions,
        recipe: Recipe,
        scans: ScanSet,
        config: RunConfig,
        ranks: Ranks,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.options, self.recipe, self.scans, self.config, self.ranks = options, recipe, scans, config, ranks
        self.progress = progress
        # What a resumed run must have in common; the data are compared by their checksum.
        compared = {key: getattr(config, key) for key in ("method", "preset", "seed", "precision", "settings", "teacher")}
        if config.init is not None:
            compared["init"] = config.init.fingerprint
        self.trainer = LabelFreeTrainer(
            recipe,
            scans,
            torch.from_numpy(scans.text),
            seed=options.seed,
            device=device,
            precision=options.precision,
            ranks=ranks,
            config=compared,
        )

    def train(self, prepare_seconds: float) -> TrainSummary | None:
        """To the end; what it gave, on the first rank."""
        trainer, folder = self.trainer, self.options.out
        run = FolderRun("train", self.options, self.progress, self.ranks)
        run.take_up(trainer)
        if not self.ranks.is_first:
            trainer.run()
            return None
        write_run_config(folder, self.config)
        write_vocabulary(folder / RUN_VOCABULARY_FILE, self.scans.vocabulary, teacher=self.config.teacher)
        every = max(1, trainer.steps_per_epoch // _REPORTS_PER_EPOCH)
        rhythm = Rhythm(every, every, self.options.save_every * trainer.steps_per_epoch)
        with run.session(trainer, f"train {self.recipe.name}", rhythm) as (session, _):
            last = train_to_end(trainer, session, ranks=self.ranks)
            summary = self._summary(prepare_seconds, last)
        atomic_write_text(folder / MODEL_CARD_FILE, model_card(self.config, self._training(summary), self.scans.vocabulary))
        return summary

    def _training(self, summary: TrainSummary) -> Training:
        loss = summary.loss
        return Training(summary.steps, summary.epochs, summary.seconds, loss, summary.parameters_deployed)

    def _summary(self, prepare_seconds: float, last: StepReport | None) -> TrainSummary:
        trainer = self.trainer
        return TrainSummary(
            folder=self.options.out,
            method=self.recipe.name,
            scans=len(self.scans),
            steps=trainer.total_steps,
            epochs=self.recipe.epochs,
            loss=None if last is None else last.loss,
            terms={} if last is None else dict(last.terms),
            parameters_trained=sum(parameter_count(module) for module in trainer.modules.values()),
            parameters_deployed=parameter_count(trainer.points),
            seconds=trainer.seconds,
            share_preparing=trainer.seconds_preparing / max(1e-9, trainer.seconds),
            prepare_seconds=prepare_seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )

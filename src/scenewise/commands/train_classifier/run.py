"""``scenewise train-classifier``: from objects with a class each to a network that names others."""

import time
from dataclasses import replace
from typing import final

from scenewise.commands.train_classifier.data import ClassifierData, classifier_data, data_licences, open_sources
from scenewise.commands.train_classifier.options import TrainClassifierOptions
from scenewise.commands.train_classifier.summary import TrainClassifierSummary, classifier_model_card
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.devices import compute_device
from scenewise.engine.journal import Journal
from scenewise.engine.measuring import steps_within
from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.tensorboard import Board, tensorboard_of
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import Rhythm, Session, StepReport, journaled, resume, train
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.io.classifier_run_folder import (
    CLASSIFIER_FIGURES_FILE,
    CLASSIFIER_FILE,
    CLASSIFIER_RUN,
    ClassifierRunConfig,
    write_classifier_run_config,
)
from scenewise.io.json_values import json_ready
from scenewise.io.run_folder import (
    MODEL_CARD_FILE,
    RUN_CHECKPOINTS,
    RUN_LOG_FILE,
    is_run_folder,
    prepare_run_folder,
    require_place_for_run,
)
from scenewise.methods.condense.classification.network_file import (
    LearnedClasses,
    TrainedClassifier,
    read_classifier,
    write_classifier,
)
from scenewise.methods.condense.classification.options import ClassifierConfig
from scenewise.methods.condense.classification.predicting import accuracies
from scenewise.methods.condense.classification.trainer import ClassifierTrainer, config_of_start
from scenewise.teachers.consistent import open_pair
from scenewise.teachers.consistent_file import PairFile

_REPORTS = 200  # lines in the diary of a whole run


def train_classifier(options: TrainClassifierOptions, progress: Progress | None = None) -> TrainClassifierSummary:
    """Reads or makes objects, trains a network on them, measures it on others, and writes a run folder.

    Args:
        options: see there.
        progress: where to report.

    Returns:
        What came out.

    Raises:
        ConventionError: options that do not fit, or another run than the one to resume.
        DataFormatError: data or a start that cannot be read, a folder in use.
        ResourceError: memory or disk do not suffice, or the start does not come with the package.
        TrainingDivergedError: the loss became NaN or infinite.
    """
    progress = NullProgress() if progress is None else progress
    device = compute_device(options.device)
    with compute_threads(options.threads):
        require_place_for_run(options.out, overwrite=options.overwrite, resume=options.resume, kind=CLASSIFIER_RUN)
        keep_freed_memory()
        began = time.monotonic()
        start = None if options.chosen_start is None else open_pair(options.chosen_start)
        config = config_of_start(options.config, start)
        sources = open_sources(options)
        prepare_run_folder(options.out, overwrite=options.overwrite, kind=CLASSIFIER_RUN)
        described = run_config(options, config, start)
        if not is_run_folder(options.out, CLASSIFIER_RUN):
            write_classifier_run_config(options.out, described)  # whoever interrupts what follows can go on with --resume
        data = classifier_data(sources, config.points, progress)
        trainer = ClassifierTrainer(config, data.train, options.seed, start=start, device=device)
        run = _Run(options, trainer, data, described, progress)
        return run.train(time.monotonic() - began)


def run_config(options: TrainClassifierOptions, config: ClassifierConfig, start: PairFile | None) -> ClassifierRunConfig:
    """Everything that decides a run, the data apart, of which only the place is known."""
    said = f"{options.objects} procedural objects of each class" if options.data is None else str(options.data)
    licences = {} if start is None else {str(options.chosen_start): start.about.licence}
    return ClassifierRunConfig(
        preset=options.chosen_preset,
        seed=options.seed,
        settings=json_ready(config),
        data={"path": said, "variant": options.variant, "views": options.views if options.data is None else None},
        start=options.chosen_start,
        licences={**licences, **data_licences(options)},
        versions=versions(),
        git_commit=git_commit(),
    )


@final
class _Run:
    """A trainer, its folder, and who is told how it goes."""

    def __init__(
        self,
        options: TrainClassifierOptions,
        trainer: ClassifierTrainer,
        data: ClassifierData,
        described: ClassifierRunConfig,
        progress: Progress,
    ) -> None:
        self.options, self.trainer, self.data, self.progress = options, trainer, data, progress
        self.checkpoints = Checkpointer(options.out / RUN_CHECKPOINTS)
        self.described = replace(described, data={**described.data, **data.report()})

    def train(self, prepare_seconds: float) -> TrainClassifierSummary:
        """To the end; what it gave."""
        trainer, folder = self.trainer, self.options.out
        self._settle_length()
        if self.options.resume:
            resume(trainer, self.checkpoints)  # there is none where it stopped before the first checkpoint
        self.described = replace(self.described, settings=json_ready(trainer.config))
        write_classifier_run_config(folder, self.described)
        with (
            Journal(folder / RUN_LOG_FILE) as journal,
            tensorboard_of(folder / "tensorboard" if self.options.tensorboard else None) as board,
        ):
            if trainer.steps_done:
                journal.write("resume", step=trainer.steps_done)
            journal.write("start", command="train-classifier", options=self.options, versions=versions())
            last = train(trainer, self._session(journal, board))
            measured = self._measured(self._written())
            summary = self._summary(prepare_seconds, last, measured)
            journal.write("end", seconds=summary.seconds, peak_memory_bytes=summary.peak_memory_bytes)
        atomic_write_text(folder / MODEL_CARD_FILE, classifier_model_card(self.described, summary))
        return summary

    def _settle_length(self) -> None:
        """Where minutes were given: the length of the run that is continued, else as many steps as fit."""
        if self.options.minutes is None:
            return
        before = self.checkpoints.latest() if self.options.resume else None
        if before is not None:
            self.trainer.set_total_steps(int(before.config["steps"]))
            return
        with self.progress.stage("time the first steps"):
            self.trainer.set_total_steps(steps_within(self.trainer, 60.0 * self.options.minutes))

    def _session(self, journal: Journal, board: Board) -> Session:
        trainer = self.trainer
        every = max(1, trainer.total_steps // _REPORTS)
        return Session(
            save=journaled(self.checkpoints, journal),
            rhythm=Rhythm(every, every, self.options.save_every),
            journal=journal,
            progress=self.progress,
            board=board,
            title="train" + (f" from step {trainer.steps_done}" if trainer.steps_done else ""),
        )

    def _written(self) -> TrainedClassifier:
        """The network as whoever opens its file finds it: in half precision."""
        path, trainer, described = self.options.out / CLASSIFIER_FILE, self.trainer, self.described
        about = {
            "steps": trainer.steps_done,
            "seed": described.seed,
            "settings": dict(described.settings),
            "data": {name: described.data[name] for name in ("path", "objects", "fingerprint")},
            "start": described.start,
            "licences": dict(described.licences),
        }
        config = trainer.config
        learned = LearnedClasses(self.data.train.class_names, config.scale, config.voxel, config.points, about)
        write_classifier(path, trainer.network, learned)
        return read_classifier(path)

    def _measured(self, classifier: TrainedClassifier) -> dict[str, float] | None:
        """Per cent on the held-out objects, also written."""
        held_out = self.data.held_out
        if held_out is None:
            (self.options.out / CLASSIFIER_FIGURES_FILE).unlink(missing_ok=True)
            return None
        classifier.network.to(self.trainer.device)
        with self.progress.stage("held-out objects"):
            shares = accuracies(classifier.probabilities(held_out.clouds), held_out)
        found = {name: 100.0 * share for name, share in shares.items()}
        split = self.data.held_out_split
        told = {"split": split, "objects": len(held_out), "steps": self.trainer.steps_done, "per_cent": found}
        atomic_write_json(self.options.out / CLASSIFIER_FIGURES_FILE, told)
        return found

    def _summary(
        self, prepare_seconds: float, last: StepReport | None, measured: dict[str, float] | None
    ) -> TrainClassifierSummary:
        trainer, held_out = self.trainer, self.data.held_out
        return TrainClassifierSummary(
            folder=self.options.out,
            network=self.options.out / CLASSIFIER_FILE,
            start=self.described.start,
            frozen=trainer.config.frozen,
            objects=len(self.data.train),
            classes=len(self.data.train.class_names),
            held_out_objects=0 if held_out is None else len(held_out),
            steps=trainer.steps_done,
            loss=None if last is None else last.loss,
            figures=measured,
            parameters_trained=trainer.parameters_trained,
            parameters_deployed=trainer.parameters_deployed,
            seconds=trainer.seconds,
            prepare_seconds=prepare_seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )

"""``scenewise train-classifier``: from objects with a class each to a network that names others."""

import time
from dataclasses import replace
from typing import final

from scenewise.commands.train_classifier.data import ClassifierData, classifier_data, data_licences, open_sources
from scenewise.commands.train_classifier.options import TrainClassifierOptions
from scenewise.commands.train_classifier.summary import TrainClassifierSummary, classifier_model_card
from scenewise.engine.devices import compute_device
from scenewise.engine.folder_runs import FolderRun, usual_rhythm
from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import StepReport, train
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.io.json_values import json_ready
from scenewise.io.run_folder import require_place_for_run
from scenewise.io.training_records import CLASSIFIER_RUN, FIGURES_FILE, TrainingRecord, begin_run, write_training_record
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
        described = run_config(options, config, start)
        begin_run(options.out, CLASSIFIER_RUN, described, overwrite=options.overwrite)
        data = classifier_data(sources, config.points, progress)
        trainer = ClassifierTrainer(config, data.train, options.seed, start=start, device=device)
        run = _Run(options, trainer, data, described, progress)
        return run.train(time.monotonic() - began)


def run_config(options: TrainClassifierOptions, config: ClassifierConfig, start: PairFile | None) -> TrainingRecord:
    """Everything that decides a run, the data apart, of which only the place is known."""
    said = f"{options.objects} procedural objects of each class" if options.data is None else str(options.data)
    licences = {} if start is None else {str(options.chosen_start): start.about.licence}
    return TrainingRecord(
        preset=options.chosen_preset,
        seed=options.seed,
        settings=json_ready(config),
        data={"path": said, "variant": options.variant, "views": options.views if options.data is None else None},
        chosen={"start": options.chosen_start},
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
        described: TrainingRecord,
        progress: Progress,
    ) -> None:
        self.options, self.trainer, self.data, self.progress = options, trainer, data, progress
        self.described = replace(described, data={**described.data, **data.report()})

    def train(self, prepare_seconds: float) -> TrainClassifierSummary:
        """To the end; what it gave."""
        trainer, options = self.trainer, self.options
        run = FolderRun("train-classifier", options, self.progress)
        run.settle_length(trainer, options.minutes)
        run.take_up(trainer)
        self.described = replace(self.described, settings=json_ready(trainer.config))
        write_training_record(options.out, CLASSIFIER_RUN, self.described)
        with run.session(trainer, "train", usual_rhythm(trainer, options.save_every)) as (session, _):
            last = train(trainer, session)
            summary = self._summary(prepare_seconds, last, self._measured(self._written()))
        atomic_write_text(options.out / CLASSIFIER_RUN.card, classifier_model_card(self.described, summary))
        return summary

    def _written(self) -> TrainedClassifier:
        """The network as whoever opens its file finds it: in half precision."""
        path, trainer, described = self.options.out / CLASSIFIER_RUN.network, self.trainer, self.described
        about = {
            "steps": trainer.steps_done,
            "seed": described.seed,
            "settings": dict(described.settings),
            "data": {name: described.data[name] for name in ("path", "objects", "fingerprint")},
            "start": described.chosen["start"],
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
            (self.options.out / FIGURES_FILE).unlink(missing_ok=True)
            return None
        classifier.network.to(self.trainer.device)
        with self.progress.stage("held-out objects"):
            shares = accuracies(classifier.probabilities(held_out.clouds), held_out)
        found = {name: 100.0 * share for name, share in shares.items()}
        split = self.data.held_out_split
        told = {"split": split, "objects": len(held_out), "steps": self.trainer.steps_done, "per_cent": found}
        atomic_write_json(self.options.out / FIGURES_FILE, told)
        return found

    def _summary(
        self, prepare_seconds: float, last: StepReport | None, measured: dict[str, float] | None
    ) -> TrainClassifierSummary:
        trainer, held_out = self.trainer, self.data.held_out
        return TrainClassifierSummary(
            folder=self.options.out,
            network=self.options.out / CLASSIFIER_RUN.network,
            start=self.described.chosen["start"],
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

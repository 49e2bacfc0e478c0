"""``scenewise train-graph``: from labelled scans to a network that tells names and relations from points."""

import time
from dataclasses import replace
from typing import Any, final

import torch

from scenewise.catalogue import DEFAULT_GRAPH_METHOD, GRAPH_METHODS
from scenewise.commands.train_graph.data import (
    LearningData,
    class_words,
    data_licences,
    learning_data,
    require_data,
    sees_pictures,
    warn_of_small_clip,
)
from scenewise.commands.train_graph.options import NONE, TrainGraphOptions
from scenewise.commands.train_graph.summary import TrainGraphSummary, graph_model_card
from scenewise.engine.devices import compute_device
from scenewise.engine.folder_runs import FolderRun, usual_rhythm
from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import StepReport, train
from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.io.json_values import json_ready
from scenewise.io.run_folder import require_place_for_run
from scenewise.io.training_records import (
    FIGURES_FILE,
    GRAPH_RUN,
    TrainingRecord,
    begin_run,
    read_training_record,
    write_training_record,
)
from scenewise.methods.vl_sat.examples import GraphExample
from scenewise.methods.vl_sat.figures import figures, predicted_graphs, seen_triplets
from scenewise.methods.vl_sat.network_file import GraphNetwork, Learned, read_graph_network, write_graph_network
from scenewise.methods.vl_sat.options import VlSatConfig
from scenewise.methods.vl_sat.predicting import GraphAnswer, student_answer
from scenewise.methods.vl_sat.seen import clip_of
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.networks.graphs.students import GraphShape
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import open_choice, with_absolute_folders
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.relation_text import HUB_PREFIX, ClipTripletText, TripletText, open_triplet_text


def train_graph(
    options: TrainGraphOptions, progress: Progress | None = None, teacher: Teacher | None = None
) -> TrainGraphSummary:
    """Shows the things of labelled scans to a teacher, trains a network beside an oracle, and writes a run folder.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of ``options.teacher``.

    Returns:
        What came out.

    Raises:
        ConventionError: options that do not fit, classes that the teacher does not know, another run than the one to resume.
        DataFormatError: data that cannot be read or lack what is needed (the message names it), a folder in use.
        ResourceError: the teacher cannot be reached, or memory or disk do not suffice.
        TrainingDivergedError: the loss became NaN or infinite.
    """
    progress = NullProgress() if progress is None else progress
    config, device = options.config, compute_device(options.device)
    with compute_threads(options.threads):
        require_place_for_run(options.out, overwrite=options.overwrite, resume=options.resume, kind=GRAPH_RUN)
        keep_freed_memory()
        began = time.monotonic()
        require_data(options, config)
        _require_sizes(config)
        if teacher is None and options.teacher != NONE:
            teacher = open_choice(with_absolute_folders(TeacherChoice(options.teacher, device=str(device))))
        words = None
        if teacher is not None:
            warn_of_small_clip(options, teacher)
            if sees_pictures(config):
                clip_of(teacher)
            words = class_words(options, teacher)  # what it does not know is said before anything is deleted or made
        text = _triplet_text(options, config, teacher, device)
        if options.resume:
            _require_same(read_training_record(options.out, GRAPH_RUN), teacher, text)
        described = run_config(options, config, teacher, text)
        begin_run(options.out, GRAPH_RUN, described, overwrite=options.overwrite)
        data = learning_data(options, config, teacher, words, progress)
        run = _Run(options, config, data, text, described, device, progress)
        return run.train(time.monotonic() - began)


def run_config(
    options: TrainGraphOptions, config: VlSatConfig, teacher: Teacher | None, text: TripletText | None
) -> TrainingRecord:
    """Everything that decides a run, the data apart, of which only the place is known."""
    licences = {each.name: each.licence for each in (teacher, text) if each is not None}
    return TrainingRecord(
        preset=options.chosen_preset,
        seed=options.seed,
        settings=json_ready(config),
        data={"path": options.data, "every": options.every, "max_points": options.max_points},
        chosen={
            "method": DEFAULT_GRAPH_METHOD,
            "teacher": None if teacher is None else teacher.name,
            "text": None if text is None else text.name,
        },
        licences={**licences, **data_licences(options)},
        versions=versions(),
        git_commit=git_commit(),
    )


def _require_sizes(config: VlSatConfig) -> None:
    """Refuses sizes that no network has, before anybody looks at pictures; ConventionError."""
    GraphShape(
        kind=config.student,
        width=config.width,
        heads=config.heads,
        depth=config.depth,
        points=config.points,
        dropout=config.dropout,
    )


def _triplet_text(
    options: TrainGraphOptions, config: VlSatConfig, teacher: Teacher | None, device: torch.device
) -> TripletText | None:
    """What turns triplets into sentences' features; the teacher itself where it was named for that as well."""
    if config.oracle is None or not config.oracle.text:
        return None
    if teacher is not None and options.chosen_text == f"{HUB_PREFIX}{options.teacher}":
        return ClipTripletText(teacher, teacher.fingerprint, teacher.licence)
    return open_triplet_text(options.chosen_text, device=str(device))


def _require_same(recorded: TrainingRecord, teacher: Teacher | None, text: TripletText | None) -> None:
    """What the checkpoint does not compare."""
    for option, before, now in (("--teacher", recorded.chosen["teacher"], teacher), ("--text", recorded.chosen["text"], text)):
        name = NONE if now is None else now.name
        if (before or NONE) != name:
            raise ConventionError(
                f"resume: {option}", expected=f"{before or NONE}, as the run has it", got=name, fix="give the same options again"
            )


@final
class _Run:
    """A trainer, its folder, and who is told how it goes."""

    def __init__(
        self,
        options: TrainGraphOptions,
        config: VlSatConfig,
        data: LearningData,
        text: TripletText | None,
        described: TrainingRecord,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.options, self.data, self.progress = options, data, progress
        build: Any = GRAPH_METHODS[DEFAULT_GRAPH_METHOD].trainer.named()
        self.trainer: VlSatTrainer = build(config, data.train, text, options.seed, device)
        self.described = replace(described, data={**described.data, **data.report()})

    def train(self, prepare_seconds: float) -> TrainGraphSummary:
        """To the end; what it gave."""
        trainer, options = self.trainer, self.options
        run = FolderRun("train-graph", options, self.progress)
        run.settle_length(trainer, options.minutes)
        run.take_up(trainer)
        self.described = replace(self.described, settings=json_ready(trainer.config))
        write_training_record(options.out, GRAPH_RUN, self.described)
        rhythm = usual_rhythm(trainer, options.save_every)
        with run.session(trainer, f"train {trainer.config.student}", rhythm) as (session, _):
            last = train(trainer, session)
            summary = self._summary(prepare_seconds, last, self._measured(self._written()))
        atomic_write_text(options.out / GRAPH_RUN.card, graph_model_card(self.described, summary))
        return summary

    def _written(self) -> GraphNetwork:
        """The network as whoever opens its file finds it: in half precision."""
        path, trainer, described = self.options.out / GRAPH_RUN.network, self.trainer, self.described
        about = {
            "method": described.chosen["method"],
            "steps": trainer.steps_done,
            "seed": described.seed,
            "settings": dict(described.settings),
            "data": {name: described.data[name] for name in ("path", "scans", "things", "relations", "fingerprint")},
            "teacher": described.chosen["teacher"],
            "text": described.chosen["text"],
            "licences": dict(described.licences),
        }
        write_graph_network(path, trainer.student, Learned(self.data.train.classes, self.data.train.predicates, about))
        return read_graph_network(path)

    def _measured(self, network: GraphNetwork) -> dict[str, float | None] | None:
        """Figures on the validation split, also written."""
        validation, learned = self.data.validation, self.data.train
        if validation is None:
            (self.options.out / FIGURES_FILE).unlink(missing_ok=True)
            return None
        with self.progress.stage("validation scans", len(validation)) as stage:

            def answer(example: GraphExample) -> GraphAnswer:
                stage.advance()
                return student_answer(network.student, example)

            graphs = predicted_graphs(answer, validation)
        found = figures(graphs, validation.classes, validation.predicates, seen_triplets(learned))
        told = {"split": "validation", "scans": len(validation), "steps": self.trainer.steps_done, "per_cent": found}
        atomic_write_json(self.options.out / FIGURES_FILE, told)
        return found

    def _summary(
        self, prepare_seconds: float, last: StepReport | None, measured: dict[str, float | None] | None
    ) -> TrainGraphSummary:
        trainer, validation = self.trainer, self.data.validation
        return TrainGraphSummary(
            folder=self.options.out,
            network=self.options.out / GRAPH_RUN.network,
            student=trainer.config.student,
            scans=len(self.data.train),
            relations=int(self.described.data["relations"]),
            validation_scans=0 if validation is None else len(validation),
            steps=trainer.steps_done,
            loss=None if last is None else last.loss,
            terms={} if last is None else dict(last.terms),
            figures=measured,
            parameters_trained=trainer.parameters_trained,
            parameters_deployed=trainer.parameters_deployed,
            seconds=trainer.seconds,
            prepare_seconds=prepare_seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )

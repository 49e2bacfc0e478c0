"""``scenewise pretrain``: from posed pictures and points to two networks that say the same of a pixel and of what it shows."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import final

import numpy as np
import torch

from scenewise.catalogue import DEFAULT_PRETRAINING_METHOD
from scenewise.commands.pretrain.data import asked_for, learning_data, warn_of_small_clip, weighted_scans
from scenewise.commands.pretrain.options import PretrainOptions
from scenewise.commands.pretrain.summary import PretrainSummary, pretraining_card
from scenewise.engine.devices import compute_device
from scenewise.engine.distribution import Ranks, joined_ranks, rank_device
from scenewise.engine.folder_runs import FolderRun, usual_rhythm
from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.option_values import bytes_from_text
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import Session, StepReport, train
from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json, atomic_write_text
from scenewise.io.images import png_bytes
from scenewise.io.json_values import json_ready
from scenewise.io.run_folder import is_run_folder, require_place_for_run
from scenewise.io.training_records import (
    FEATURES_PICTURE_FILE,
    FIGURES_FILE,
    PRETRAINING_RUN,
    TrainingRecord,
    begin_run,
    read_training_record,
    write_training_record,
)
from scenewise.methods.condense.held_out import HeldOutFigures, feature_maps, held_out_figures
from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.monitor import WatchedTrainer, collapse, warn_of_collapse
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.trainer import CondenseTrainer
from scenewise.parts.scans.posed_data import PosedData, WeightedScan
from scenewise.show.feature_pictures import FeatureRow, feature_sheet
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import open_choice, with_absolute_folders
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent_file import AboutPair, PairFile, read_pair, write_pair
from scenewise.teachers.dinov2 import NoWords
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.towers import VisionTower

_LOOKS = 10  # at held-out pictures during a run
_SCANS_LOOKED_AT = 4  # during a run
_PICTURED = 4  # scans of which a held-out picture is shown


def pretrain(
    options: PretrainOptions, progress: Progress | None = None, teacher: Teacher | None = None
) -> PretrainSummary | None:
    """Prepares scans, trains both branches on them and writes a run folder.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of ``options.teacher``.

    Returns:
        What came out; None on all processes but the first.

    Raises:
        ConventionError: options that do not fit, a teacher without a transformer, no scan that can be used, another run than the
            one to resume.
        DataFormatError: data that cannot be read (the message names them), a folder in use.
        ResourceError: the teacher cannot be reached, or memory or disk do not suffice.
        TrainingDivergedError: something became NaN or infinite.
    """
    progress = NullProgress() if progress is None else progress
    config = options.config
    device = rank_device(compute_device(options.device))
    with joined_ranks(device) as ranks, compute_threads(options.threads) as threads:
        if ranks.is_first:
            require_place_for_run(options.out, overwrite=options.overwrite, resume=options.resume, kind=PRETRAINING_RUN)
        keep_freed_memory()
        began = time.monotonic()
        if teacher is None:
            teacher = open_choice(with_absolute_folders(TeacherChoice(options.teacher, device=str(device))))
        clip, frozen = tower_of(teacher, half=options.precision != "float32")
        if options.resume and is_run_folder(options.out, PRETRAINING_RUN):
            _require_same(read_training_record(options.out, PRETRAINING_RUN), clip)
        told: str | None = None
        described: TrainingRecord | None = None
        if ranks.is_first:
            warn_of_small_clip(options, clip)
            scans = weighted_scans(options.sources, config.most_points)
            described = run_config(options, config, clip, frozen, scans)
            begin_run(options.out, PRETRAINING_RUN, described, overwrite=options.overwrite)
            told = learning_data(options, config, scans, clip, threads, progress).to_text()
        # The first prepares, the others hear what of.
        data = PosedData.from_text(ranks.shared_bytes(None if told is None else told.encode()).decode())
        run = _Run(options, config, data, clip, frozen, ranks, device, progress)
        return run.train(described, time.monotonic() - began)


def tower_of(teacher: Teacher, *, half: bool = False) -> tuple[ClipTeacher, FrozenTower]:
    """The tower of a teacher that both branches can be trained beside.

    Args:
        teacher: any.
        half: the tower computes in bfloat16.

    Raises:
        ConventionError: it has none, or one that is no transformer.
    """
    tower = teacher.clip.tower if isinstance(teacher, ClipTeacher) else None
    if not isinstance(teacher, ClipTeacher) or not isinstance(tower, VisionTower):
        raise ConventionError(
            "--teacher",
            expected="a CLIP, SigLIP or DINOv2 whose tower is a transformer",
            got=teacher.name,
            fix="small-clip, openai/clip-vit-base-patch16 or facebook/dinov2-small",
        )
    text_dim = None if isinstance(teacher.clip.text, NoWords) else tower.dim
    return teacher, FrozenTower(tower, text_dim, half)


def run_config(
    options: PretrainOptions, config: CondenseConfig, clip: ClipTeacher, frozen: FrozenTower, scans: Sequence[WeightedScan]
) -> TrainingRecord:
    """Everything that decides a run, the data apart, of which only the place is known."""
    return TrainingRecord(
        preset=options.chosen_preset,
        seed=options.seed,
        settings=json_ready(config),
        data={**asked_for(options, scans), "text_dim": frozen.text_dim},
        chosen={
            "method": DEFAULT_PRETRAINING_METHOD,
            "precision": options.precision,
            "teacher": clip.name,
            "tower_fingerprint": clip.clip.fingerprint,
        },
        licences={clip.name: clip.licence},
        versions=versions(),
        git_commit=git_commit(),
    )


def _require_same(recorded: TrainingRecord, clip: ClipTeacher) -> None:
    """What the checkpoint does not compare."""
    if recorded.chosen["tower_fingerprint"] != clip.clip.fingerprint:
        expected = f"{recorded.chosen['teacher']} with the weights that the run has"
        raise ConventionError("resume: --teacher", expected=expected, got=clip.name, fix="give the same options again")


@final
class _Run:
    """A trainer, its folder, and who is told how it goes."""

    def __init__(
        self,
        options: PretrainOptions,
        config: CondenseConfig,
        data: PosedData,
        clip: ClipTeacher,
        frozen: FrozenTower,
        ranks: Ranks,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.options, self.data, self.clip, self.frozen, self.ranks = options, data, clip, frozen, ranks
        self.progress = progress if ranks.is_first else NullProgress()
        self.measured = data.to_measure()
        self.trainer = CondenseTrainer(
            config,
            data.to_learn(bytes_from_text(options.memory)),
            frozen,
            options.seed,
            device=device,
            precision=options.precision,
            ranks=ranks,
        )

    def train(self, described: TrainingRecord | None, prepare_seconds: float) -> PretrainSummary | None:
        """To the end; what it gave, on the first process, which alone has a description of the run."""
        trainer, options = self.trainer, self.options
        run = FolderRun("pretrain", options, self.progress, self.ranks)
        run.settle_length(trainer, options.minutes)
        run.take_up(trainer)
        if described is None:
            train(trainer, Session(), ranks=self.ranks)
            return None
        described = self._described(described)
        write_training_record(options.out, PRETRAINING_RUN, described)
        with run.session(trainer, "pre-train", usual_rhythm(trainer, options.save_every)) as (session, journal):
            for name, why in self.data.skipped.items():
                journal.write("skipped", scan=name, why=why)
            every = options.look_every or max(1, trainer.total_steps // _LOOKS)
            last = train(WatchedTrainer(trainer, self._look, every), session, ranks=self.ranks)
            file = self._written(described)
            figures = self._measured(file)
            journal.write("figures", figures=figures)
            self._pictured(file)
            summary = self._summary(prepare_seconds, last, file, figures)
        atomic_write_text(options.out / PRETRAINING_RUN.card, pretraining_card(described, summary))
        return summary

    def _described(self, described: TrainingRecord) -> TrainingRecord:
        """With what was prepared."""
        counts = {
            "scans": len(self.data),
            "views": sum(len(scan.learned) for scan in self.data.scans),
            "held_out_views": sum(len(scan.held_out) for scan in self.data.scans),
            "skipped": dict(self.data.skipped),
            "fingerprint": self.trainer.scans.fingerprint,
        }
        return replace(
            described,
            settings=json_ready(self.trainer.config),
            data={**described.data, **counts},
            licences={**described.licences, **self.data.licences},
        )

    def _look(self) -> HeldOutFigures | None:
        """The running average on held-out pictures of a few scans."""
        trainer, measured = self.trainer, self.measured
        if measured is None:
            return None
        return held_out_figures(trainer.average, self.frozen, measured, trainer.config, most_scans=_SCANS_LOOKED_AT)

    def _written(self, described: TrainingRecord) -> PairFile:
        """Both branches as whoever opens their file finds them: in half precision."""
        path, trainer = self.options.out / PRETRAINING_RUN.network, self.trainer
        told = {
            **described.chosen,
            **{name: getattr(described, name) for name in ("preset", "seed", "settings", "data", "licences")},
        }
        about = AboutPair(
            tower=self.clip.name,
            tower_fingerprint=self.clip.clip.fingerprint,
            prior_dim=trainer.prior.dim,
            voxel=trainer.config.voxel,
            picture_width=trainer.config.picture_width,
            licence=_joint_licence(described),
            about={**json_ready(told), "steps": trainer.steps_done},
        )
        if not all(bool(value.half().isfinite().all()) for value in trainer.average.state_dict().values()):
            raise TrainingDivergedError(f"training diverged: numbers after step {trainer.steps_done} do not fit half precision")
        write_pair(path, trainer.average, about)
        file = read_pair(path)
        file.pair.to(trainer.device)
        return file

    def _measured(self, file: PairFile) -> HeldOutFigures | None:
        """Figures on held-out pictures, also written."""
        path = self.options.out / FIGURES_FILE
        figures = None
        if self.measured is not None:
            figures = held_out_figures(file.pair, self.frozen, self.measured, self.trainer.config, progress=self.progress)
        if figures is None:
            path.unlink(missing_ok=True)
            return None
        told = {"split": "held-out pictures", "steps": self.trainer.steps_done, **asdict(figures)}
        atomic_write_json(path, {**told, "collapsed": warn_of_collapse(figures)})
        return figures

    def _pictured(self, file: PairFile) -> None:
        """A held-out picture of each of a few scans in the colours of one basis."""
        if self.measured is None:
            return
        rows = np.unique(np.linspace(0, len(self.measured) - 1, min(len(self.measured), _PICTURED)).round().astype(np.int64))
        shown = []
        for row in rows.tolist():
            seen = feature_maps(file.pair, self.frozen, self.measured[row], 0, self.trainer.config)
            shown.append(FeatureRow(seen.picture_u8, seen.image, seen.volume, seen.is_rendered))
        atomic_write_bytes(self.options.out / FEATURES_PICTURE_FILE, png_bytes(feature_sheet(shown)))

    def _summary(
        self, prepare_seconds: float, last: StepReport | None, file: PairFile, figures: HeldOutFigures | None
    ) -> PretrainSummary:
        trainer = self.trainer
        return PretrainSummary(
            folder=self.options.out,
            weights=self.options.out / PRETRAINING_RUN.network,
            scans=len(self.data),
            views=sum(len(scan.learned) for scan in self.data.scans),
            held_out_views=sum(len(scan.held_out) for scan in self.data.scans),
            skipped=self.data.skipped,
            steps=trainer.steps_done,
            loss=None if last is None else last.loss,
            terms={} if last is None else dict(last.terms),
            figures=figures,
            collapsed=None if figures is None else collapse(figures.cosine, figures.image_rank, figures.volume_rank) is not None,
            parameters_trained=trainer.parameters_trained,
            parameters_deployed=sum(parameter.numel() for parameter in file.pair.parameters()),
            seconds=trainer.seconds,
            prepare_seconds=prepare_seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )


def _joint_licence(described: TrainingRecord) -> str | None:
    """Of everything that was learned from; None where one is unknown and no other is known."""
    known = {licence for licence in described.licences.values() if licence is not None}
    if len(known) == 1 and None not in described.licences.values():
        return known.pop()
    return "; ".join(f"{name}: {licence or 'unknown'}" for name, licence in described.licences.items()) if known else None

"""Training of the embedded text tower: photograph nothing, tell what holds, learn, measure, export."""

from dataclasses import asdict, dataclass
from pathlib import Path

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads, torch_threads
from scenewise.engine.training import Rhythm, Session, journaled, resume
from scenewise.engine.training import train as train_to_end
from scenewise.methods.vl_sat.language.config import RelationTextConfig, ToldPictures
from scenewise.methods.vl_sat.language.corpus import is_held_out, records_of_rooms
from scenewise.methods.vl_sat.language.figures import Figures, measure
from scenewise.methods.vl_sat.language.trainer import RelationTextTrainer
from scenewise.teachers.relation_text import RelationLanguage, RelationText, save_relation_text
from scenewise.worlds.relation_captions import RelationRecord
from scenewise.worlds.relation_words import TOLD_PREDICATES, known_nouns, known_words
from scenewise.worlds.seeds import TRAINING_SEEDS, VALIDATION_SEEDS

_LOG_EVERY = 20


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Attributes:
        steps: taken.
        seconds: of training.
        pictures: that were told about.
        told: figures of combinations it was trained on.
        held_out: figures of combinations it was not.
    """

    steps: int
    seconds: float
    pictures: int
    told: Figures
    held_out: Figures


def training_language() -> RelationLanguage:
    """The words of the procedural world's sentences."""
    return RelationLanguage(known_words(), known_nouns(), TOLD_PREDICATES)


def told_records(seeds: range, settings: ToldPictures, progress: Progress | None = None) -> tuple[RelationRecord, ...]:
    """What is known of the pictures of the first rooms of a range of seeds."""
    progress = NullProgress() if progress is None else progress
    rooms = seeds[: settings.rooms]
    with progress.stage("look at rooms", len(rooms)) as stage, compute_threads(1):
        return records_of_rooms(rooms, settings, stage.advance)


def train(
    config: RelationTextConfig,
    records: tuple[RelationRecord, ...],
    folder: Path,
    *,
    validation: tuple[RelationRecord, ...],
    progress: Progress | None = None,
) -> tuple[RelationText, TrainingReport]:
    """Trains from the newest checkpoint to the end, and measures.

    Args:
        config: the recipe.
        records: what is known of the pictures of training rooms; nothing else is learned from.
        folder: of checkpoints and log.
        validation: of other rooms, for the figures.
        progress: where to report.

    Raises:
        ConventionError: the folder holds a run of another recipe.
    """
    trainer = RelationTextTrainer(config, records)
    checkpoints = Checkpointer(folder / "checkpoints")
    with Journal(folder / "log.jsonl") as journal, torch_threads(config.threads):
        resume(trainer, checkpoints, journal)
        session = Session(
            journaled(checkpoints, journal),
            Rhythm(_LOG_EVERY, _LOG_EVERY, config.save_every),
            journal,
            NullProgress() if progress is None else progress,
        )
        train_to_end(trainer, session)
        text = RelationText(trainer.network, training_language())
        told, held_out = (measure(text, validation, may_tell) for may_tell in (lambda fact: not is_held_out(fact), is_held_out))
        report = TrainingReport(trainer.steps_done, trainer.seconds, len(records), told, held_out)
        journal.write("validation", **asdict(report))
    return text, report


def validation_records(settings: ToldPictures, progress: Progress | None = None) -> tuple[RelationRecord, ...]:
    """What is known of pictures of rooms that are not trained on."""
    return told_records(VALIDATION_SEEDS, settings, progress)


def training_records(settings: ToldPictures, progress: Progress | None = None) -> tuple[RelationRecord, ...]:
    """What is known of the pictures it is trained on."""
    return told_records(TRAINING_SEEDS, settings, progress)


def export(text: RelationText, path: Path) -> Path:
    """Writes the weights file of the teacher."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_relation_text(path, text.network, text.language)
    return path

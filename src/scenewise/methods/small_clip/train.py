"""Training of the embedded small CLIP: render, learn, export; each part resumes where it stopped."""

import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads, torch_threads
from scenewise.engine.training import Rhythm, Session
from scenewise.engine.training import train as train_to_end
from scenewise.methods.small_clip.config import PictureSettings, SmallClipConfig
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room, read_shards, write_shard
from scenewise.methods.small_clip.trainer import SmallClipTrainer, build_network
from scenewise.networks.small_clip import normalised
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.teachers.small_clip import Language, SmallClipModel, save_small_clip
from scenewise.worlds import captions
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.seeds import VALIDATION_SEEDS

_LOG_EVERY = 20


def training_language() -> Language:
    """The words of the procedural world's captions."""
    meaningful = [*captions.COLOR_NAMES]
    for names in SYNONYMS.values():
        meaningful += [*names, *map(captions.plural, names)]
    for affordance in captions.AFFORDANCES:
        meaningful += [*affordance.phrases, *affordance.questions]
    glue = {word for text in (*captions.SUBJECT_TEMPLATES, *captions.LIST_TEMPLATES) for word in captions.words_of(text)}
    glue |= set(captions.words_of("where can i what how does is are the this here to of for from in on at up down come comes it"))
    glue |= {"something", "somewhere", "place", "that"}
    content = {word for text in meaningful for word in captions.words_of(text)} - glue
    content |= {noun for names in SYNONYMS.values() for noun in names}
    return Language(captions.known_words(), SYNONYMS, frozenset(content), captions.SUBJECT_TEMPLATES)


def render_pictures(folder: Path, settings: PictureSettings, processes: int = 1, progress: Progress | None = None) -> None:
    """Renders the shards that are missing.

    Args:
        folder: of the shards.
        settings: what to photograph.
        processes: rendered at the same time; the result does not depend on it.
        progress: where to report.
    """
    progress = NullProgress() if progress is None else progress
    folder.mkdir(parents=True, exist_ok=True)
    with progress.stage("photograph rooms", settings.shards) as stage:
        if processes <= 1:
            for shard in range(settings.shards):
                _render(folder, shard, settings)
                stage.advance()
            return
        # A fresh interpreter each: the compiled library's threads do not survive a fork.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_render, *zip(*[(folder, shard, settings) for shard in range(settings.shards)])):
                stage.advance()


def _render(folder: Path, shard: int, settings: PictureSettings) -> None:
    with compute_threads(1):
        write_shard(folder, shard, settings.seeds(shard), settings)


@dataclass(frozen=True)
class TrainingReport:
    """How far training has come.

    Attributes:
        step: steps taken.
        steps: steps in all.
        seconds: of training so far, over all slices.
        crop_accuracy: share of validation pictures of one subject that are named right.
        mean_class_accuracy: the same, averaged over classes.
    """

    step: int
    steps: int
    seconds: float
    crop_accuracy: float
    mean_class_accuracy: float

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.steps


def train(
    config: SmallClipConfig,
    pictures: Pictures,
    folder: Path,
    *,
    minutes: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainingReport:
    """Trains until the end or for some minutes; the next call goes on.

    Args:
        config: the recipe.
        pictures: photographs and image-level records; nothing else is learned from.
        folder: of checkpoints and log.
        minutes: of this slice; None = to the end.
        device: "cpu" or "cuda".
        progress: where to report.

    Raises:
        ConventionError: the folder holds a run of another recipe.
    """
    progress = NullProgress() if progress is None else progress
    language = training_language()
    trainer = SmallClipTrainer(config, pictures, language, torch.device(device))
    checkpoints = Checkpointer(folder / "checkpoints")
    found = checkpoints.latest()
    if found is not None:
        trainer.restore(found)
    validation = _validation_pictures(config)
    deadline = None if minutes is None else time.monotonic() + 60.0 * minutes
    with Journal(folder / "log.jsonl") as journal:

        def save(checkpoint: Checkpoint) -> None:
            if checkpoint.step % config.save_every == 0 or checkpoint.step == config.steps:
                journal.write("validation", **asdict(_report(trainer, language, validation)))
            checkpoints.save(checkpoint)

        title = f"train from step {trainer.steps_done}" if trainer.steps_done else "train"
        session = Session(save, Rhythm(_LOG_EVERY, _LOG_EVERY, config.save_every), journal, progress, title=title)
        # Training runs in torch, not in the compiled library, so the threads go there.
        with torch_threads(config.threads):
            train_to_end(trainer, session, deadline=deadline)
    return _report(trainer, language, validation)


def _validation_pictures(config: SmallClipConfig, rooms: int = 40) -> Pictures:
    """Pictures of validation rooms, for the log only."""
    with compute_threads(1):
        return Pictures.joined([pictures_of_room(VALIDATION_SEEDS[-1 - i], config.pictures) for i in range(rooms)])


def crop_accuracy(model: SmallClipModel, pictures: Pictures) -> tuple[float, float]:
    """Zero-shot naming of pictures that are of one thing: share right, and the same averaged over classes.

    Args:
        model: towers and words.
        pictures: with records, from which the subject is taken.
    """
    subjects = pictures.records.subjects
    rows = np.flatnonzero(subjects >= 0)
    texts = torch.from_numpy(model.embed_text(CLASS_NAMES, model.language.templates))
    size = model.tower.native_size
    named = []
    for chunk in np.array_split(rows, math.ceil(len(rows) / 64)):
        images = torch.from_numpy(pictures.images[chunk]).permute(0, 3, 1, 2).float() / 255
        images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
        device = next(model.network.parameters()).device
        named.append((model.tower.embed_images(normalised(images).to(device)).cpu() @ texts.T).argmax(1).numpy())
    is_right = np.concatenate(named) == subjects[rows]
    per_class = [float(is_right[subjects[rows] == kind].mean()) for kind in np.unique(subjects[rows])]
    return float(is_right.mean()), float(np.mean(per_class))


def _report(trainer: SmallClipTrainer, language: Language, validation: Pictures) -> TrainingReport:
    network = trainer.network
    state = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    accuracy, mean_class = crop_accuracy(SmallClipModel(network, language), validation)
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(state[name])
    return TrainingReport(trainer.steps_done, trainer.total_steps, trainer.seconds, accuracy, mean_class)


def export(config: SmallClipConfig, folder: Path, path: Path) -> Path:
    """Writes the newest checkpoint's towers as the weights file of the teacher."""
    language = training_language()
    network, _ = build_network(config, len(language.words))
    found = Checkpointer(folder / "checkpoints").latest()
    assert found is not None, "export follows training"
    own = "network."
    network.load_state_dict({name.removeprefix(own): tensor for name, tensor in found.parameters.items() if name.startswith(own)})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_small_clip(path, network, language)
    return path


def read_pictures(folder: Path, settings: PictureSettings) -> Pictures:
    """All shards of the settings, in memory."""
    return read_shards(folder, settings.shards)

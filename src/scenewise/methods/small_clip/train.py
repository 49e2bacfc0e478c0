"""Training of the embedded small CLIP: render, learn, export; each part resumes where it stopped."""

import json
import math
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenewise.engine.checkpoints import Checkpoint, Checkpointer, require_same_run
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads, torch_threads
from scenewise.errors import ConventionError
from scenewise.methods.small_clip.batches import Words, batch_at
from scenewise.methods.small_clip.config import Phase, PictureSettings, SmallClipConfig
from scenewise.methods.small_clip.objective import VisibilityScale, losses_of
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room, read_shards, write_shard
from scenewise.networks.small_clip import SmallClip, normalised
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.teachers.small_clip import Language, SmallClipModel, save_small_clip
from scenewise.worlds import captions
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.seeds import VALIDATION_SEEDS

_LOG_EVERY = 20
_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_MAX_GRADIENT_NORM = 1.0


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


def build_network(config: SmallClipConfig, words: int) -> tuple[SmallClip, VisibilityScale]:
    """Freshly initialised towers; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return SmallClip(replace(config.shape, words=words)), VisibilityScale()


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
    words = Words(language.words, config.shape.context)
    network, visibility = build_network(config, len(language.words))
    patch_visibility = VisibilityScale()
    parts = {"network": network, "visibility": visibility, "patch_visibility": patch_visibility}
    both = nn.ModuleDict(parts).to(device)
    optimizer, names = _optimizer(both, config)
    checkpoints = Checkpointer(folder / "checkpoints")
    described = json.loads(json.dumps(asdict(config)))
    data_hash = config.pictures.fingerprint() + f"-{config.pictures.shards}"
    step, seconds_before = 0, 0.0
    found = checkpoints.latest()
    if found is not None:
        _require_same_steps(found, config, described, data_hash)
        both.load_state_dict(dict(found.parameters))
        _load_moments(optimizer, names, found.optimizer, found.step)
        step, seconds_before = found.step, float(found.details["seconds"])
    validation = _validation_pictures(config)
    began = time.monotonic()
    end = None if minutes is None else began + 60.0 * minutes
    both.train()
    title = "train" if step == 0 else f"train from step {step}"
    # Training runs in torch, not in the compiled library, so the threads go there.
    with (
        torch_threads(config.threads),
        Journal(folder / "log.jsonl") as journal,
        progress.stage(title, config.steps - step) as stage,
    ):
        while step < config.steps and (end is None or time.monotonic() < end):
            batch = batch_at(pictures, words, config, step).to(torch.device(device))
            for group in optimizer.param_groups:
                group["lr"] = config.rate_at(step) * group["factor"]
            optimizer.zero_grad(set_to_none=True)
            weight = config.phase_at(step).patch_weight
            losses = losses_of(network, visibility, batch, config, len(CLASS_NAMES), weight, patch_visibility)
            losses.total.backward()
            nn.utils.clip_grad_norm_(both.parameters(), _MAX_GRADIENT_NORM)
            optimizer.step()
            step += 1
            seconds = seconds_before + time.monotonic() - began
            if step % _LOG_EVERY == 0 or step == config.steps:
                values = {name: float(getattr(losses, name).detach()) for name in ("caption", "visible", "subject", "patches")}
                journal.write("step", step=step, seconds=seconds, scale=float(network.log_logit_scale.detach().exp()), **values)
                stage.advance(step % _LOG_EVERY or _LOG_EVERY, **values)
            if step % config.save_every == 0 or step == config.steps:
                report = _report(network, language, validation, step, config, seconds)
                journal.write("validation", **asdict(report))
                _save(checkpoints, both, optimizer, names, step, described, data_hash, seconds)
    if step % config.save_every and step < config.steps:
        _save(checkpoints, both, optimizer, names, step, described, data_hash, seconds_before + time.monotonic() - began)
    return _report(network, language, validation, step, config, seconds_before + time.monotonic() - began)


def _require_same_steps(found: Checkpoint, config: SmallClipConfig, described: Mapping[str, Any], data_hash: str) -> None:
    """Refuses to go on with another recipe; a longer or shorter one that agrees on all steps taken so far is the same.

    Raises:
        ConventionError: naming what differs.
    """
    taken = dict(found.config)
    try:
        earlier = replace(config, phases=tuple(Phase(**{**phase, "sizes": tuple(phase["sizes"])}) for phase in taken["phases"]))
    except (KeyError, TypeError) as error:
        raise ConventionError("resume: the checkpoint", expected="a recipe with phases", got=str(error)) from error
    steps = range(found.step)

    def course(recipe: SmallClipConfig) -> list[tuple[float, Phase]]:
        return [(recipe.rate_at(i), replace(recipe.phase_at(i), steps=0)) for i in steps]

    if course(config) != course(earlier):
        raise ConventionError(
            "resume: option phases",
            expected="the same learning rate and patches in all steps taken",
            got="others",
            fix="use the phases the run was started with, or start anew in another folder",
        )
    require_same_run(replace(found, config={**taken, "phases": described["phases"]}), config=described, data_hash=data_hash)


def _optimizer(both: nn.Module, config: SmallClipConfig) -> tuple[torch.optim.AdamW, list[list[str]]]:
    """AdamW with decay on matrices only and faster temperatures; parameter names by group beside it."""
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"matrices": [], "others": [], "temperatures": []}
    for name, parameter in both.named_parameters():
        if name.endswith("log_logit_scale") or "visibility" in name:
            groups["temperatures"].append((name, parameter))
        elif parameter.ndim > 1 and "positions" not in name and "words" not in name:
            groups["matrices"].append((name, parameter))
        else:
            groups["others"].append((name, parameter))
    settings: list[dict[str, Any]] = [
        {
            "params": [parameter for _, parameter in members],
            "weight_decay": config.weight_decay if kind == "matrices" else 0.0,
            "factor": config.temperature_rate if kind == "temperatures" else 1.0,
        }
        for kind, members in groups.items()
    ]
    optimizer = torch.optim.AdamW(settings, lr=config.learning_rate, betas=_BETAS, eps=_EPSILON, fused=True)
    return optimizer, [[name for name, _ in members] for members in groups.values()]


def _named_parameters(optimizer: torch.optim.AdamW, names: list[list[str]]) -> list[tuple[str, Tensor]]:
    return [
        (name, parameter)
        for group, members in zip(optimizer.param_groups, names)
        for name, parameter in zip(members, group["params"])
    ]


def _load_moments(optimizer: torch.optim.AdamW, names: list[list[str]], saved: Mapping[str, Tensor], step: int) -> None:
    for name, parameter in _named_parameters(optimizer, names):
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), device=parameter.device),
            "exp_avg": saved[f"first.{name}"].to(parameter.device),
            "exp_avg_sq": saved[f"second.{name}"].to(parameter.device),
        }


def _save(
    checkpoints: Checkpointer,
    both: nn.Module,
    optimizer: torch.optim.AdamW,
    names: list[list[str]],
    step: int,
    described: Mapping[str, Any],
    data_hash: str,
    seconds: float,
) -> None:
    moments: dict[str, Tensor] = {}
    for name, parameter in _named_parameters(optimizer, names):
        moments[f"first.{name}"] = optimizer.state[parameter]["exp_avg"]
        moments[f"second.{name}"] = optimizer.state[parameter]["exp_avg_sq"]
    checkpoints.save(Checkpoint(step, dict(both.state_dict()), moments, {}, described, data_hash, details={"seconds": seconds}))


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


def _report(
    network: SmallClip, language: Language, validation: Pictures, step: int, config: SmallClipConfig, seconds: float
) -> TrainingReport:
    state = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    accuracy, mean_class = crop_accuracy(SmallClipModel(network, language), validation)
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(state[name])
    return TrainingReport(step, config.steps, seconds, accuracy, mean_class)


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

"""What one training step sees, as a function of the step alone."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.methods.small_clip.config import SmallClipConfig
from scenewise.methods.small_clip.pictures import Pictures
from scenewise.networks.small_clip import FIRST_WORD, PATCH_SIZE, normalised, token_ids
from scenewise.worlds import captions
from scenewise.worlds.classes import CLASS_NAMES, class_id
from scenewise.worlds.materials import pick

_CROPS = (80, 88, 96, 104, 112)


@dataclass(frozen=True)
class Batch:
    """Pictures, their captions, and the questions asked of them.

    Attributes:
        images: normalised RGB.
        kept: patches that are looked at.
        captions: word ids, one caption per picture.
        entailed: which caption is true of which picture beside its own.
        prompts: word ids of one prompt per class, then one per affordance.
        answers: whether the prompt's thing is visible.
        subjects: class each picture is of, −1 = none.
    """

    images: Float[Tensor, "batch 3 size size"]
    kept: Int64[Tensor, "batch kept"]
    captions: Int64[Tensor, "batch context"]
    entailed: Bool[Tensor, "batch batch"]
    prompts: Int64[Tensor, "prompts context"]
    answers: Float[Tensor, "batch prompts"]
    subjects: Int64[Tensor, "batch"]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


class WordIds:
    """The word list, as ids."""

    def __init__(self, words: tuple[str, ...], context: int) -> None:
        self.ids = {word: FIRST_WORD + i for i, word in enumerate(words)}
        self.context = context

    def encode(self, text: str) -> list[int]:
        """Word ids of a text made of known words."""
        return token_ids([self.ids[word] for word in captions.words_of(text)], self.context)


def batch_at(pictures: Pictures, words: WordIds, config: SmallClipConfig, step: int) -> Batch:
    """The batch of a step: the same whenever it is asked for, so that a run resumes anywhere."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 2, step]))
    chosen = rng.integers(0, len(pictures), config.batch_size)
    records = pictures.records.rows(chosen)
    told = [captions.caption(rng, records.rows(np.array([i]))) for i in range(len(chosen))]
    entailed = captions.entailed(told, records)
    np.fill_diagonal(entailed, False)
    prompts, answers = _questions(rng, records)
    phase = config.phase_at(step)
    # A stream of its own, so that sizes do not change what else a step draws.
    size = pick(np.random.Generator(np.random.PCG64([config.seed, 3, step])), phase.sizes)
    patches = (size // PATCH_SIZE) ** 2
    count = min(phase.patches, patches)
    kept = np.sort(np.argsort(rng.random((len(chosen), patches)), axis=1)[:, :count], axis=1)
    return Batch(
        images=normalised(_augmented(rng, pictures.images, chosen, size)),
        kept=torch.from_numpy(kept),
        captions=torch.tensor([words.encode(entry.text) for entry in told]),
        entailed=torch.from_numpy(entailed),
        prompts=torch.tensor([words.encode(prompt) for prompt in prompts]),
        answers=torch.from_numpy(answers.astype(np.float32)),
        subjects=torch.from_numpy(records.subjects),
    )


def _questions(rng: np.random.Generator, records: captions.ImageRecords) -> tuple[list[str], np.ndarray]:
    """A prompt for every class and every affordance, and which are true of which picture."""
    prompts = [pick(rng, captions.SUBJECT_TEMPLATES).format(captions.any_name(rng, kind)) for kind in range(len(CLASS_NAMES))]
    answers: list[np.ndarray] = [records.visible]
    for affordance in captions.AFFORDANCES:
        asks = rng.random() < 0.5
        phrase = pick(rng, affordance.questions if asks else affordance.phrases)
        prompts.append(phrase if asks else pick(rng, captions.PURPOSE_TEMPLATES).format(phrase))
        serving = [class_id(name) for name in affordance.class_names]
        answers.append(np.asarray(records.visible[:, serving].any(1, keepdims=True)))
    return prompts, np.concatenate(answers, axis=1)


def _augmented(rng: np.random.Generator, images: np.ndarray, chosen: np.ndarray, size: int) -> Float[Tensor, "batch 3 size size"]:
    """Random crops at one scale per batch, flips, exposure, tint, blur and noise; RGB in [0, 1]."""
    full = images.shape[1]
    crop = min(full, pick(rng, _CROPS))
    cut = np.empty((len(chosen), crop, crop, 3), dtype=np.uint8)
    for row, index in enumerate(chosen):
        top, left = rng.integers(0, full - crop + 1, 2)
        window = images[index, top : top + crop, left : left + crop]
        cut[row] = window[:, ::-1] if rng.random() < 0.5 else window
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).float().div_(255.0)
    if rng.random() < 0.25:  # a lens out of focus, a picture enlarged
        coarse = crop // 2
        pixels = F.interpolate(pixels, (coarse, coarse), mode="bilinear", align_corners=False)
    if pixels.shape[-1] != size:
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    count = len(chosen)
    gain = 1.0 + rng.normal(0.0, 0.15, (count, 1, 1, 1))
    offset = rng.normal(0.0, 0.06, (count, 1, 1, 1)) + rng.normal(0.0, 0.03, (count, 3, 1, 1))
    pixels = pixels * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, dtype=np.float32))
    return (pixels + float(rng.uniform(0.0, 0.03)) * noise).clamp_(0.0, 1.0)

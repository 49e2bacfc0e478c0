"""What a CLIP teacher needs from its text tower."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.teachers.prompts import filled_prompts


@runtime_checkable
class TextEncoder(Protocol):
    """From phrases to the space they share with images."""

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase: every prompt normalised, averaged over the templates, normalised again.

        Raises:
            ConventionError: a phrase is empty, or none of its words is known.
        """
        ...


@dataclass(frozen=True)
class PromptEnsembleEncoder:
    """A text tower behind the averaging over prompts.

    Attributes:
        encode: sentences to embeddings of any length, in one batch.
        batch: sentences that go through together.
    """

    encode: Callable[[list[str]], Float[Tensor, "sentences dim"]]
    batch: int = 256

    @torch.no_grad()
    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """See :class:`TextEncoder`."""
        if not phrases or not templates:
            raise ConventionError("phrases and templates", expected="at least one each", got="none")
        for phrase in phrases:
            if not phrase.strip():
                raise ConventionError("a phrase", expected="a word", got=repr(phrase))
        sentences = [sentence for phrase in phrases for sentence in filled_prompts(phrase, templates)]
        batches = [self.encode(sentences[first : first + self.batch]) for first in range(0, len(sentences), self.batch)]
        units = F.normalize(torch.cat(batches).float(), dim=-1).unflatten(0, (len(phrases), len(templates)))
        return F.normalize(units.mean(dim=1), dim=-1).cpu().numpy()

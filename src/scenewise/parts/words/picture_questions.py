"""Questions by a picture, alone or together with words: one vector of the space of words, and what elements are compared with."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float16, Float32
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.frames import ImageU8

Features = Float32[np.ndarray, "n dim"] | Float16[np.ndarray, "n dim"]
_CHUNK_NUMBERS = 1 << 22  # of a table held at once: 16 MB


@dataclass(frozen=True)
class AskedPicture:
    """A picture of what is looked for.

    Attributes:
        image_u8: sRGB.
        name: what a person calls it.
        share: of the picture in a question that has words as well; ½ counts both alike.
    """

    image_u8: ImageU8
    name: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ConventionError("share of a picture", expected="between 0 and 1", got=self.share)


@dataclass(frozen=True)
class Comparison:
    """What a question by words is, and what it is compared with.

    Attributes:
        text: unit embedding of the words.
        others: unit embeddings of what elements may be instead.
    """

    text: Float32[np.ndarray, "dim"]
    others: Float32[np.ndarray, "others dim"]


def joint_embedding(
    text: Float32[np.ndarray, "dim"], picture: Float32[np.ndarray, "dim"], share: float = 0.5
) -> Float32[np.ndarray, "dim"]:
    """Words and a picture as one unit vector: q = ((1 − w)·t + w·p) / ‖(1 − w)·t + w·p‖ with the picture's share w.

    Raises:
        ConventionError: they cancel each other.
        ShapeError: of different spaces.
    """
    if text.shape != picture.shape:
        raise ShapeError("picture", expected=f"{len(text)} numbers, as the words", got=len(picture))
    joint = (1.0 - share) * text + share * picture
    length = float(np.linalg.norm(joint))
    if length < 1e-6:
        raise ConventionError("words and picture", expected="ones that do not cancel each other", got="opposite embeddings")
    return (joint / length).astype(np.float32)


def picture_level(cosines: Float32[np.ndarray, "n"]) -> float:
    """The cosine with a picture from which an element counts as part of the answer: half way from the median's to the closest's.

    Words are compared with other words, of which those above that middle are part of the answer
    (:func:`scenewise.parts.words.queries.query_and_canonical`).  A picture is compared with the scene itself, by the same rule:
    pictures and words lie in different parts of their common space, so that elements are more like any picture than like words.
    """
    return 0.5 * (float(cosines.max()) + float(np.median(cosines))) if len(cosines) else 0.0


def picture_cosines(features: Features, picture: Float32[np.ndarray, "dim"]) -> Float32[np.ndarray, "n"]:
    """Of each element with a picture; NaN of those that were never seen."""
    if features.shape[1] != len(picture):
        raise ShapeError("picture", expected=f"{features.shape[1]} numbers, as the features", got=len(picture))
    wanted, cosines = torch.from_numpy(picture), np.empty(len(features), dtype=np.float32)
    for some, rows in _chunks(features):
        cosines[some] = torch.where(_seen(rows), rows @ wanted, torch.nan).numpy()
    return cosines


def picture_relevancy(
    features: Features,
    picture: Float32[np.ndarray, "dim"],
    level: float,
    logit_scale: float,
    *,
    words: Comparison | None = None,
    share: float = 0.5,
) -> Float32[np.ndarray, "n"]:
    """How much better elements fit a picture, or words and a picture, than what they are compared with.

    σ(s·(f·q − r)) with q of :func:`joint_embedding`, and r the same mean of what each part is compared with, at the same length:
    ((1 − w)·max f·c + w·l) / ‖(1 − w)·t + w·p‖ over the other words c and the level l.  For words alone this is
    :func:`scenewise.parts.words.classification.relevancy`; for a picture alone q = p and r = l.

    Args:
        features: unit vectors; a zero row was never seen and gets 0.
        picture: unit embedding.
        level: of :func:`picture_level` over the whole scene.
        logit_scale: s.
        words: asked for together with the picture.
        share: of the picture, w, where there are words.

    Returns:
        In [0, 1]; ½ where an element fits as well as what it is compared with.
    """
    asked = picture if words is None else joint_embedding(words.text, picture, share)
    length = 1.0 if words is None else float(np.linalg.norm((1.0 - share) * words.text + share * picture))
    wanted, answer = torch.from_numpy(asked), np.empty(len(features), dtype=np.float32)
    for some, rows in _chunks(features):
        compared = torch.full((len(rows),), level)
        if words is not None:
            compared = ((1.0 - share) * (rows @ torch.from_numpy(words.others).T).amax(dim=1) + share * level) / length
        margin = rows @ wanted - compared
        answer[some] = torch.where(_seen(rows), torch.sigmoid(logit_scale * margin), 0.0).numpy()
    return answer


def _chunks(features: Features) -> Iterator[tuple[slice, Tensor]]:
    rows = max(1, _CHUNK_NUMBERS // max(1, features.shape[1]))
    for start in range(0, len(features), rows):
        some = slice(start, start + rows)
        yield some, torch.from_numpy(features[some]).float()


def _seen(rows: Tensor) -> Tensor:
    return rows.square().sum(dim=1) > 0

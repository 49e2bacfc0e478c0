"""Questions by words and pictures to a scene whose elements carry a teacher's features: no image is needed any more."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.element_features import features_path, read_element_features
from scenewise.io.ply.gaussians import gaussians_ply_size
from scenewise.io.scene_folder import SPLATS_FILE
from scenewise.parts.words.classification import CANONICAL_PHRASES, relevancy
from scenewise.parts.words.picture_questions import (
    AskedPicture,
    Comparison,
    picture_cosines,
    picture_level,
    picture_relevancy,
)
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.heats import Heat
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.protocol import PictureTeacher, Teacher

_AS_IT_IS = ("{}",)
_LONGEST_NOUN_PHRASE = 3
"""Words in what still fits a template such as "a photo of a {}"; longer texts are sentences of their own."""


@final
class SceneSearcher:
    """Answers texts and pictures with a heat per splat and per point.

    The features are read once; a question then costs one pass over them.

    Args:
        scene_folder: a folder that ``scenewise segment`` has written to.
        teacher: what made the features; None opens it by the name the features carry.

    Raises:
        DataFormatError: no features there, damaged ones, or features of another teacher.
    """

    def __init__(self, scene_folder: Path, teacher: Teacher | None = None) -> None:
        self.folder = scene_folder
        self.splats = _features(scene_folder, "splats")
        self.points = _features(scene_folder, "points")
        kept = self.splats if self.splats is not None else self.points
        if kept is None:
            raise DataFormatError(
                scene_folder,
                expected="features that a teacher gave its splats or points",
                got="none",
                fix=f"run scenewise segment {scene_folder}",
            )
        self._kind, self._classes = kept.kind, kept.classes
        self.teacher = _opened(kept) if teacher is None else teacher
        if self.teacher.fingerprint != kept.fingerprint:
            raise DataFormatError(
                scene_folder,
                expected=f"features of the teacher {self.teacher.name} with its present weights and settings",
                got=f"features of {kept.teacher} made otherwise",
                fix="run scenewise segment again, or name the teacher they were made with",
            )

    @property
    def takes_pictures(self) -> bool:
        """Whether it can be asked with a picture."""
        return self._kind == "features" and isinstance(self.teacher, PictureTeacher)

    def heat(self, text: str, picture: AskedPicture | None = None) -> Heat:
        """Relevancy of every element to a text (:func:`scenewise.parts.words.classification.relevancy`).

        It is compared with the teacher's other nouns where it knows a fixed list, else with four phrases that mean nothing
        in particular.  Features that are probabilities of classes answer with the probability of the classes that are named.

        Args:
            text: may be empty where there is a picture.
            picture: looked for instead, or together with the text
                (:func:`scenewise.parts.words.picture_questions.picture_relevancy`).

        Raises:
            ConventionError: nothing is asked, a text of which the teacher knows no word, or a teacher without understanding of
                pictures.
        """
        wanted = " ".join(text.split())
        if picture is not None:
            return self._heat_of_picture(wanted, picture)
        if not wanted:
            raise ConventionError("query", expected="a word or a sentence", got="nothing")
        if self._kind == "probabilities":
            columns = classes_named(wanted, self._classes)
            return Heat(wanted, *(_best_column(features, columns) for features in (self.splats, self.points)))
        asked, others = query_and_canonical(self.teacher, wanted)
        scale = self.teacher.logit_scale
        splats, points = (
            None if features is None else relevancy(features.values, asked, others, scale)
            for features in (self.splats, self.points)
        )
        return Heat(wanted, splats, points)

    def _heat_of_picture(self, wanted: str, picture: AskedPicture) -> Heat:
        teacher, gives = self.teacher, "probabilities of classes" if self._kind == "probabilities" else "features of parts alone"
        if self._kind == "probabilities" or not isinstance(teacher, PictureTeacher):
            raise ConventionError(
                f"picture {picture.name}",
                expected="a scene that was named by features of a teacher that understands pictures",
                got=f"{teacher.name}, which gives {gives}",
                fix="ask in words, or segment with a CLIP or condense:RUN",
            )
        words = None
        if wanted:
            asked, others = query_and_canonical(teacher, wanted)
            words = Comparison(asked[0], others)
        seen = teacher.embed_image(picture.image_u8)
        sets = (self.splats, self.points)
        cosines = np.concatenate([picture_cosines(each.values, seen) for each in sets if each is not None])
        level, scale = picture_level(cosines[np.isfinite(cosines)]), teacher.logit_scale
        splats, points = (
            None if features is None else picture_relevancy(features.values, seen, level, scale, words=words, share=picture.share)
            for features in sets
        )
        return Heat(f"{wanted} + {picture.name}" if wanted else picture.name, splats, points)


def query_and_canonical(
    teacher: Teacher, text: str
) -> tuple[Float32[np.ndarray, "phrases dim"], Float32[np.ndarray, "others dim"]]:
    """Embeddings of a text and of what places are compared with.

    A teacher with a fixed list of nouns compares with those of them that do not mean the same: a noun whose cosine with the
    text lies above the middle between the closest noun's and the median's is taken to be part of the answer.

    Raises:
        ConventionError: the teacher knows no word of the text.
    """
    templates = teacher.default_templates() if len(text.split()) <= _LONGEST_NOUN_PHRASE else _AS_IT_IS
    asked = teacher.embed_text([text], templates)
    known = teacher.vocabulary()
    if known is None:
        return asked, teacher.embed_text(CANONICAL_PHRASES, teacher.default_templates())
    nouns = teacher.embed_text(known.queries, known.templates)
    cosines = nouns @ asked[0]
    part_of_answer = cosines > 0.5 * (float(cosines.max()) + float(np.median(cosines)))
    return asked, nouns[~part_of_answer] if not part_of_answer.all() else nouns


def classes_named(text: str, classes: Sequence[str]) -> tuple[int, ...]:
    """Positions of the classes whose name occurs in a text as whole words, in singular or with a plural s.

    Raises:
        ConventionError: none does.

    >>> classes_named("where are the office chairs", ("table", "chair", "chairlift"))
    (1,)
    """
    found = tuple(
        number for number, name in enumerate(classes) if re.search(rf"\b{re.escape(name.lower())}(s|es)?\b", text.lower())
    )
    if not found:
        raise ConventionError(
            f"query {text!r}",
            expected="the name of a class, because the teacher gave probabilities of classes and knows no other words",
            got="none of them",
            fix=f"ask for one of: {', '.join(classes)}",
        )
    return found


def _best_column(features: ElementFeatures | None, columns: tuple[int, ...]) -> Float32[np.ndarray, "n"] | None:
    if features is None:
        return None
    return np.clip(features.values[:, list(columns)].max(axis=1).astype(np.float32), 0.0, 1.0)


def _features(folder: Path, of: str) -> ElementFeatures | None:
    if of == "splats":
        path = features_path(folder, "splats")
        return read_element_features(path, count=gaussians_ply_size(folder / SPLATS_FILE)[0]) if path.exists() else None
    path = features_path(folder, "points")
    return read_element_features(path) if path.exists() else None


def _opened(features: ElementFeatures) -> Teacher:
    from scenewise.teachers.choose import open_choice

    return open_choice(
        TeacherChoice(
            features.teacher,
            features.read_out,
            features.text_from,
            features.key_smoothing,
            read_out_settings=features.read_out_settings,
        )
    )

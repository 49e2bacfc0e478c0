"""Questions to a library: by words, by a picture, by another capture, by a thing; and which of its scenes are one place."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.io.scene_library.records import LibraryKeyPoints, StoredScene
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.described_things import answered
from scenewise.parts.retrieval.descriptions import things_asked
from scenewise.parts.retrieval.filters import EVERYTHING, SceneFilter
from scenewise.parts.retrieval.keypoints import KeyPoints, picture_keypoints
from scenewise.parts.retrieval.likeness import best_in_each
from scenewise.parts.retrieval.locating import CameraPose, camera_pose, settled, sightings
from scenewise.parts.retrieval.verification import METRE, ScenePose, Unit, mutual_matches, scene_pose
from scenewise.scenes.frames import ImageU8
from scenewise.teachers.consistent import ConsistentFeatures

_EXACT = 300_000
"""Key points of a library up to which every one is compared; above, the store's index finds the nearest."""
_NEAREST = 32  # answers of the index to each key point
_ASKED = 64  # key points of a picture or a scene that rank scenes; all of them are matched afterwards
_VERIFIED = 8  # best ranked scenes whose geometry is looked at
_ENOUGH = 3  # of these, where the camera of a picture is found in one of them: wrong scenes have none
_OTHERS = 2  # best answers among which a match must be on both sides
_GUESSED_FOV_DEG = (50.0, 60.0, 70.0, 80.0)
_SAME_PLACE = 0.25  # metres within which an aligned key point should meet one that is like it


@dataclass(frozen=True)
class Hit:
    """A scene that answers.

    Attributes:
        scene: which.
        score: higher is better; comparable within one answer.
        camera: where the picture was taken in the scene's own local axes, where that was asked and found.
        pose: how the asked capture lies in this one, likewise.
        things: rows of the library's objects that answer each part of a sentence.
    """

    scene: StoredScene
    score: float
    camera: CameraPose | None = None
    pose: ScenePose | None = None
    things: tuple[int, ...] = ()


@dataclass(frozen=True)
class DuplicatePair:
    """Two scenes that may be one place.

    Attributes:
        first: one.
        second: the other.
        score: share of their key points that meet their like when one is laid on the other, in [0, 1].
        pose: second from first, in their local axes.
    """

    first: StoredScene
    second: StoredScene
    score: float
    pose: ScenePose


def unit_of(scene: StoredScene) -> Unit:
    """What a length of 1 in a scene is."""
    is_metric = scene.facts.scale == "metric"
    per_metre = 1.0 if is_metric else float(scene.facts.provenance.get("world_units_per_metre", 1.0))
    return Unit(per_metre, is_metric)


@final
class LibrarySearch:
    """Answers about the scenes of a library.

    Args:
        library: open.
        model: the encoder that the library was made with.

    Raises:
        ConventionError: another encoder.
    """

    def __init__(self, library: SceneLibrary, model: ConsistentFeatures) -> None:
        if library.about.fingerprint != model.fingerprint:
            raise ConventionError(
                f"encoder of {library.uri}", expected=library.about.encoder, got=model.name, fix="name the library's encoder"
            )
        self.library, self.model = library, model

    # -------------------------------------------------------------------------------------------------------------- by words

    def by_words(self, sentence: str, most: int = 10, where: SceneFilter = EVERYTHING) -> tuple[Hit, ...]:
        """Scenes in which most of what a sentence asks for is found.

        Raises:
            ConventionError: words that the encoder's text space does not know, or no such space.
        """
        answers = answered(things_asked(sentence), self.library.objects(), self.model, self.library.about.color_names)
        return self._ranked(self.library.objects().scenes, answers.scores, where, most, things=answers.things)

    # ------------------------------------------------------------------------------------------------------------ by picture

    def by_picture(
        self,
        image_u8: ImageU8,
        K: Float64[np.ndarray, "3 3"] | None = None,
        most: int = 10,
        where: SceneFilter = EVERYTHING,
    ) -> tuple[Hit, ...]:
        """Scenes that a picture may show, and where it was taken in those whose geometry agrees.

        Args:
            image_u8: sRGB.
            K: of its camera, in its pixels; None: horizontal fields of view from 50° to 80° are tried.
            most: hits.
            where: which scenes are looked at.
        """
        seen = self.model.of_picture(image_u8)
        height, width = image_u8.shape[:2]
        cameras = [K] if K is not None else [_guessed_camera(width, height, degrees) for degrees in _GUESSED_FOV_DEG]

        def verified(hit: Hit, held: KeyPoints) -> Hit:
            found = sightings(seen, held)
            tried = [(camera_pose(found, each), each) for each in cameras]
            best, own = max(tried, key=lambda each: -math.inf if each[0] is None else each[0].fit)
            if best is None or not best.is_believed:
                return hit
            return replace(hit, score=hit.score + best.fit, camera=settled(found, own, best))

        return self._by_keypoints(picture_keypoints(seen), verified, most, where.holds, enough=_ENOUGH)

    # -------------------------------------------------------------------------------------------------------------- by scene

    def by_scene(
        self,
        asked: KeyPoints,
        most: int = 10,
        where: SceneFilter = EVERYTHING,
        *,
        but: str | None = None,
        unit: Unit = METRE,
    ) -> tuple[Hit, ...]:
        """Scenes that may be the same place as another capture.

        Args:
            asked: its key points.
            most: hits.
            where: which scenes are looked at.
            but: name of a scene that is left out: the asked one itself.
            unit: of the asked capture.
        """

        def verified(hit: Hit, held: KeyPoints) -> Hit:
            pose = scene_pose(asked, held, mutual_matches(asked, held, _OTHERS), units=(unit, unit_of(hit.scene)))
            return hit if pose is None else replace(hit, score=hit.score + pose.inliers, pose=pose)

        return self._by_keypoints(asked, verified, most, lambda scene: scene.name != but and where.holds(scene))

    def keypoints_of(self, name: str) -> KeyPoints:
        """Of a scene in the library.

        Raises:
            ConventionError: there is none of this name.
        """
        held = self.library.key_points()
        return _of_scene(held, index_of_scene(held.scenes, name))

    def _by_keypoints(
        self,
        asked: KeyPoints,
        verified: Callable[[Hit, KeyPoints], Hit],
        most: int,
        holds: Callable[[StoredScene], bool],
        enough: int = _VERIFIED,
    ) -> tuple[Hit, ...]:
        """Ranked by likeness; the best ones once more by how well a place is found in them, ``enough`` of them if one is."""
        held = self.library.key_points()
        likeness = self._likeness(asked.first(_ASKED), held)
        allowed = [index for index, scene in enumerate(held.scenes) if holds(scene)]
        order = sorted(allowed, key=lambda index: (-likeness[index], held.scenes[index].name))
        hits: list[Hit] = []
        for rank, index in enumerate(order[: max(most, _VERIFIED)]):
            hit = Hit(held.scenes[index], float(likeness[index]))
            is_found = any(each.camera is not None or each.pose is not None for each in hits)
            is_looked_at = rank < (enough if is_found else _VERIFIED)
            hits.append(verified(hit, _of_scene(held, index)) if is_looked_at else hit)
        return tuple(sorted(hits, key=lambda hit: (-hit.score, hit.scene.name))[:most])

    def _likeness(self, asked: KeyPoints, held: LibraryKeyPoints) -> Float32[np.ndarray, "scenes"]:
        """S(Q, R) of every scene."""
        if not len(asked) or not len(held.features):
            return np.zeros(len(held.scenes), dtype=np.float32)
        weights = asked.scores / max(float(asked.scores.sum()), 1e-12)
        if len(held.features) <= _EXACT:
            best = best_in_each(asked.features, held.features, held.starts[:-1])
        else:
            near = self.library.nearest("keypoints", asked.features, _NEAREST)
            # What is not among the nearest is no better than the last of them.
            best = np.repeat(near.similarities[:, -1:], len(held.scenes), axis=1)
            rows = np.repeat(np.arange(len(asked)), near.scene_index.shape[1])
            columns, cosines = near.scene_index.ravel(), near.similarities.ravel()
            known = columns >= 0
            np.maximum.at(best, (rows[known], columns[known]), cosines[known])
        likeness: Float32[np.ndarray, " scenes"] = (weights @ best).astype(np.float32)
        return likeness

    # -------------------------------------------------------------------------------------------------------------- by thing

    def by_thing(
        self, feature: Float32[np.ndarray, "dim"], most: int = 10, where: SceneFilter = EVERYTHING, *, but: int | None = None
    ) -> tuple[Hit, ...]:
        """Scenes with the things most like one that is given by its feature.

        Args:
            feature: unit vector.
            most: hits.
            where: which scenes are looked at.
            but: row of a thing that is no answer: the asked one itself.
        """
        things = self.library.objects()
        cosines = things.features @ feature if len(things.features) else np.zeros(0, np.float32)
        if but is not None:
            cosines[but] = -1.0
        scores = np.full(len(things.scenes), -1.0)
        rows: list[tuple[int, ...]] = []
        for index, (begin, end) in enumerate(zip(things.starts[:-1], things.starts[1:])):
            best = int(begin) + int(np.argmax(cosines[begin:end])) if end > begin else -1
            scores[index] = cosines[best] if best >= 0 else -1.0
            rows.append((best,) if best >= 0 and best != but else ())
        return self._ranked(things.scenes, scores, where, most, things=rows)

    def _ranked(
        self,
        scenes: Sequence[StoredScene],
        scores: Float64[np.ndarray, "scenes"],
        where: SceneFilter,
        most: int,
        things: Sequence[tuple[int, ...]],
    ) -> tuple[Hit, ...]:
        order = sorted(where.rows(scenes), key=lambda index: (-scores[index], scenes[index].name))
        return tuple(Hit(scenes[index], float(scores[index]), things=things[index]) for index in order[:most])

    # ------------------------------------------------------------------------------------------------------------ duplicates

    def duplicates(self, least: float = 0.5, where: SceneFilter = EVERYTHING) -> tuple[DuplicatePair, ...]:
        """Pairs of scenes that are likely one place, the surest first; both were captured anew, lit and furnished as may be.

        Args:
            least: score from which a pair is told.
            where: which scenes are looked at.
        """
        return tuple(pair for pair in self.scored_pairs(where) if pair.score >= least)

    def scored_pairs(self, where: SceneFilter = EVERYTHING) -> tuple[DuplicatePair, ...]:
        """All pairs of which one is among the best ranked answers to the other and whose geometry agrees, by falling score."""
        held = self.library.key_points()
        rows = where.rows(held.scenes)
        sets = {index: _of_scene(held, index) for index in rows}
        wanted: set[tuple[int, int]] = set()
        for index in rows:
            likeness = self._likeness(sets[index].first(_ASKED), held)
            others = sorted((other for other in rows if other != index), key=lambda other: -likeness[other])
            wanted |= {(min(index, other), max(index, other)) for other in others[:_VERIFIED]}
        pairs = []
        for first, second in sorted(wanted):
            units = (unit_of(held.scenes[first]), unit_of(held.scenes[second]))
            pose = scene_pose(sets[first], sets[second], mutual_matches(sets[first], sets[second], _OTHERS), units=units)
            if pose is not None:
                score = shared_places(sets[first], sets[second], pose.held_from_asked, pose.metre)
                pairs.append(DuplicatePair(held.scenes[first], held.scenes[second], score, pose))
        return tuple(sorted(pairs, key=lambda pair: (-pair.score, pair.first.name, pair.second.name)))


def shared_places(
    first: KeyPoints, second: KeyPoints, second_from_first: Float64[np.ndarray, "4 4"], metre: float = 1.0
) -> float:
    """How much of two captures is the same when one is laid on the other: mean over both of the share of key points, weighed by
    their scores, that meet one within 25 cm, times the cosine to the one most like it there.

    Args:
        first: key points of one.
        second: of the other.
        second_from_first: how one lies on the other.
        metre: so many units of the second are a metre.
    """
    if not len(first) or not len(second):
        return 0.0
    moved = transform_points(second_from_first, first.positions.astype(np.float64))
    there = second.positions.astype(np.float64)
    distances = np.linalg.norm(moved[:, None] - there[None], axis=2)
    cosines = np.where(distances < _SAME_PLACE * metre, np.maximum(first.features @ second.features.T, 0.0), 0.0)
    shares = [
        float((each.scores * cosines.max(axis=axis)).sum() / max(float(each.scores.sum()), 1e-12))
        for each, axis in ((first, 1), (second, 0))
    ]
    return min(sum(shares) / 2, 1.0)  # cosines round


def index_of_scene(scenes: Sequence[StoredScene], name: str) -> int:
    """Where a scene is in the library's list.

    Raises:
        ConventionError: there is none of this name.
    """
    for index, scene in enumerate(scenes):
        if scene.name == name:
            return index
    expected = (
        f"one of the {len(scenes)} of the library, such as {near_names(scenes, name)}" if scenes else "one of the library's"
    )
    raise ConventionError("scene", expected=expected, got=repr(name) if scenes else f"{name!r}, and no scene is in it")


def near_names(scenes: Sequence[StoredScene], name: str) -> str:
    """Some scenes that may have been meant."""
    names = [scene.name for scene in scenes]
    return ", ".join(difflib.get_close_matches(name, names, n=3) or names[:3])


def _of_scene(held: LibraryKeyPoints, index: int) -> KeyPoints:
    own = slice(int(held.starts[index]), int(held.starts[index + 1]))
    return KeyPoints(held.positions_in_world[own], held.features[own], held.scores[own])


def _guessed_camera(width: int, height: int, degrees: float) -> Float64[np.ndarray, "3 3"]:
    focal = width / 2 / np.tan(np.radians(degrees) / 2)
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

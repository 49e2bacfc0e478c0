"""Hits as a person and a program read them: in the coordinates that each scene's capture came in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.commands.library.listing import ListedThing, listed_thing
from scenewise.commands.search.asking import Answer, Question, fov_deg
from scenewise.commands.text_tables import text_table
from scenewise.io.scene_library.records import LibraryObjects, LibraryViews, StoredScene
from scenewise.parts.retrieval.frames import camera_from_source, heading_and_pitch, source_from_source
from scenewise.parts.retrieval.locating import CameraPose
from scenewise.parts.retrieval.searching import Hit, index_of_scene, unit_of
from scenewise.parts.retrieval.verification import ScenePose

Three = tuple[float, float, float]
Matrix = tuple[tuple[float, ...], ...]
_TOLD_THINGS = 4


@dataclass(frozen=True)
class FoundCamera:
    """Where a picture was taken.

    Attributes:
        camera_from_source: rigid 4×4, OpenCV axes; the source is the frame that the scene's capture came in.
        position_in_source: of the camera.
        heading_deg: where it looks, counter-clockwise from +X as seen from above.
        pitch_deg: above the horizon.
        K: of the picture, as it was taken for or found.
        fov_deg: horizontally, likewise.
        width, height: of the picture.
        agreeing: key points that are found where it sees them.
        in_view: key points in its field of view; others may hide some.
    """

    camera_from_source: Matrix
    position_in_source: Three
    heading_deg: float
    pitch_deg: float
    K: Matrix
    fov_deg: float
    width: int
    height: int
    agreeing: int
    in_view: int


@dataclass(frozen=True)
class FoundTransform:
    """How one capture lies in another.

    Attributes:
        to_from: 4×4, takes coordinates of the asked (or first) capture to those of the hit's (or the second).
        scale: of it; 1 where both captures are metric.
        agreeing: matches that agree on it.
        matches: that there were.
    """

    to_from: Matrix
    scale: float
    agreeing: int
    matches: int


@dataclass(frozen=True)
class FoundScene:
    """A hit.

    Attributes:
        rank: from 1.
        name: of the scene.
        score: higher is better; comparable within one answer.
        source: where the scene came from.
        kind: of the source.
        date, place, licence: of the capture, as far as they are known.
        scale: "metric" or "arbitrary".
        camera: where the picture was taken, or None.
        transform: of a scan that was asked for, or None.
        things: that answer.
        view: name of the scene's picture that was taken nearest to the camera, or of the likest by another network's descriptors,
            or None.
    """

    rank: int
    name: str
    score: float
    source: str
    kind: str
    date: str | None
    place: str | None
    licence: str | None
    scale: str
    camera: FoundCamera | None
    transform: FoundTransform | None
    things: tuple[ListedThing, ...]
    view: str | None


def found_scene(rank: int, hit: Hit, answer: Answer, things: LibraryObjects | None, view: str | None) -> FoundScene:
    """A hit in the coordinates of its scene's capture."""
    facts = hit.scene.facts
    transform = None
    if hit.pose is not None:
        assert answer.offset_in_source is not None, "a scan was asked for"
        transform = found_transform(hit.pose, answer.offset_in_source, facts.offset_in_source)
    return FoundScene(
        rank=rank,
        name=hit.scene.name,
        score=hit.score,
        source=facts.source,
        kind=facts.kind,
        date=facts.date,
        place=facts.place,
        licence=facts.licence,
        scale=facts.scale,
        camera=None if hit.camera is None else _found_camera(hit.camera, hit.scene, answer.question),
        transform=transform,
        things=() if things is None else tuple(listed_thing(things, row) for row in hit.things),
        view=view,
    )


def found_transform(
    pose: ScenePose, asked_offset: Float64[np.ndarray, "3"], held_offset: Float64[np.ndarray, "3"]
) -> FoundTransform:
    """A transform between the frames that two captures came in."""
    moved = source_from_source(pose.held_from_asked, asked_offset, held_offset)
    return FoundTransform(_matrix(moved), pose.scale, pose.inliers, pose.matches)


def _found_camera(camera: CameraPose, scene: StoredScene, question: Question) -> FoundCamera:
    assert question.width is not None and question.height is not None, "a picture was asked for"
    pose = camera_from_source(camera.camera_from_world, scene.facts.offset_in_source)
    position = -pose[:3, :3].T @ pose[:3, 3]
    up = scene.facts.provenance.get("up_in_source")
    heading, pitch = heading_and_pitch(pose, None if up is None else np.array(up, dtype=np.float64))
    focal = camera.focal
    return FoundCamera(
        camera_from_source=_matrix(pose),
        position_in_source=(float(position[0]), float(position[1]), float(position[2])),
        heading_deg=heading,
        pitch_deg=pitch,
        K=((focal, 0.0, question.width / 2), (0.0, focal, question.height / 2), (0.0, 0.0, 1.0)),
        fov_deg=fov_deg(focal, question.width),
        width=question.width,
        height=question.height,
        agreeing=camera.inliers,
        in_view=camera.in_view,
    )


def _matrix(values: Float64[np.ndarray, "rows columns"]) -> Matrix:
    return tuple(tuple(float(value) for value in row) for row in values)


def nearest_view(hit: Hit, views: LibraryViews) -> int | None:
    """Row of the scene's view that was taken nearest to a found camera: metres, and radians between the directions."""
    index = index_of_scene(views.scenes, hit.scene.name)
    begin, end = int(views.starts[index]), int(views.starts[index + 1])
    if hit.camera is None or begin == end:
        return None
    poses = np.concatenate([hit.camera.camera_from_world[None], views.camera_from_world[begin:end]])
    centers = -np.einsum("kji,kj->ki", poses[:, :3, :3], poses[:, :3, 3])
    away = np.linalg.norm(centers[1:] - centers[0], axis=1) / unit_of(hit.scene).per_metre
    turned = np.arccos(np.clip(poses[1:, 2, :3] @ poses[0, 2, :3], -1.0, 1.0))
    return begin + int(np.argmin(away + turned))


def hits_table(question: Question, hits: Sequence[FoundScene]) -> str:
    """Rank, name, score and what was found."""
    if not hits:
        return f"{question.asked!r}: no scene that could answer is in the library, or passes the filters"
    kind = question.kind if question.descriptors is None else "views"
    head = {
        "text": ("", "scene", "score", "things"),
        "image": ("", "scene", "score", "camera", "heading", "agreeing"),
        "scene": ("", "scene", "score", "shift", "scale", "agreeing"),
        "object": ("", "scene", "score", "things"),
        "views": ("", "scene", "score", "likest picture"),
    }[kind]
    return text_table(head, [_row(question, hit) for hit in hits], right=("", "score", "heading", "scale", "agreeing"))


def _row(question: Question, hit: FoundScene) -> tuple[str, ...]:
    begin = (str(hit.rank), hit.name, f"{hit.score:.2f}")
    unit = " m" if hit.scale == "metric" else ""
    if question.descriptors is not None:
        return (*begin, hit.view or "–")
    if question.kind == "image":
        return (*begin, *camera_words(hit.camera, unit))
    if question.kind == "scene":
        if hit.transform is None:
            return (*begin, "–", "–", "0")
        shift = _position(tuple(row[3] for row in hit.transform.to_from[:3]))
        return (*begin, f"{shift}{unit}", f"{hit.transform.scale:.3g}", f"{hit.transform.agreeing} of {hit.transform.matches}")
    more = f" and {len(hit.things) - _TOLD_THINGS} more" if len(hit.things) > _TOLD_THINGS else ""
    return (*begin, ", ".join(f"{thing.class_name} {thing.id}" for thing in hit.things[:_TOLD_THINGS]) + more or "–")


def camera_words(camera: FoundCamera | None, unit: str) -> tuple[str, str, str]:
    """Position, heading and key points; dashes where no camera was found."""
    if camera is None:
        return "–", "–", "0"
    return f"{_position(camera.position_in_source)}{unit}", f"{camera.heading_deg:.0f}°", f"{camera.agreeing} of {camera.in_view}"


def _position(values: tuple[float, ...]) -> str:
    return ", ".join(f"{round(value, 2) + 0.0:.2f}" for value in values)  # no "-0.00"

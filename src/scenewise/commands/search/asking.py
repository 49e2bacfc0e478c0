"""What a person asks a library, and its answer."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from scenewise.commands.scene_libraries import named_descriptors
from scenewise.commands.search.options import SearchOptions
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.descriptor_files import read_descriptor
from scenewise.io.exif import read_photograph_header
from scenewise.io.images import read_upright_image
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.descriptions import things_asked
from scenewise.parts.retrieval.encoding import EncodingSettings
from scenewise.parts.retrieval.filters import SceneFilter
from scenewise.parts.retrieval.frames import in_source_frame
from scenewise.parts.retrieval.keypoints import KeyPoints, scene_keypoints
from scenewise.parts.retrieval.other_descriptors import descriptors_of_scene, require_same_network, scenes_like
from scenewise.parts.retrieval.searching import Hit, LibrarySearch, index_of_scene, near_names, unit_of
from scenewise.parts.retrieval.sources import library_sources
from scenewise.parts.retrieval.verification import METRE, Unit
from scenewise.parts.scans.bare_scans import scan_axes
from scenewise.scenes.frames import ImageU8
from scenewise.teachers.consistent import ConsistentFeatures

FovFrom = Literal["option", "exif", "tried"]


@dataclass(frozen=True)
class Question:
    """What was asked.

    Attributes:
        kind: of the question.
        asked: the words, the file, the scene or the thing.
        things_asked: what the words ask for, such as "2 red chair".
        width, height: of the picture, turned as its camera was held.
        fov_deg: of its camera, horizontally; None where several were tried.
        fov_from: who says so.
        descriptors: name of another network whose descriptors of pictures were compared; None = the library's encoder answered.
    """

    kind: Literal["text", "image", "scene", "object"]
    asked: str
    things_asked: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    fov_deg: float | None = None
    fov_from: FovFrom | None = None
    descriptors: str | None = None


@dataclass(frozen=True)
class Answer:
    """What the library says.

    Attributes:
        question: what was asked.
        hits: the best first.
        picture_u8: that was asked for, or of the scene; None where there is none.
        offset_in_source: of the asked scan's local coordinates, where transforms begin.
        views: of each hit, row of the library's view that is most like what was asked for; empty where that was not asked.
    """

    question: Question
    hits: tuple[Hit, ...]
    picture_u8: ImageU8 | None = None
    offset_in_source: Float64[np.ndarray, "3"] | None = None
    views: tuple[int, ...] = ()


def answered(options: SearchOptions, search: LibrarySearch, where: SceneFilter) -> Answer:
    """Asks a library.

    Raises:
        ConventionError: words that the encoder does not know, no such scene or thing.
        DataFormatError: a picture or scan that cannot be read.
        MissingDependencyError: PoseLib is not installed.
    """
    if options.text is not None:
        asked = tuple(each.text if each.count == 1 else f"{each.count} {each.text}" for each in things_asked(options.text))
        return Answer(Question("text", options.text, asked), search.by_words(options.text, options.top, where))
    if options.descriptors is not None:
        return _by_descriptors(options, search.library, where)
    if options.image is not None:
        return _by_image(options.image, options, search, where)
    if options.scene is not None:
        return _by_scene(options.scene, options, search, where)
    assert options.object is not None, "one of the four was given"
    return _by_object(options.object, options, search, where)


def _by_image(path: Path, options: SearchOptions, search: LibrarySearch, where: SceneFilter) -> Answer:
    picture = read_upright_image(path)
    height, width = picture.shape[:2]
    focal, said = _focal(path, width, options.fov)
    K = None if focal is None else np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    fov = None if focal is None else fov_deg(focal, width)
    hits = search.by_picture(picture, K, options.top, where)
    return Answer(Question("image", str(path), (), width, height, fov, said), hits, picture)


def _by_descriptors(options: SearchOptions, library: SceneLibrary, where: SceneFilter) -> Answer:
    """By what another network says of a picture, or of the views of a scene in the library."""
    picture, about = None, library.about
    if options.image is not None:
        assert options.descriptors is not None
        files = named_descriptors(options.descriptors)
        require_same_network(about, files, "name descriptors of that network")
        picture = read_upright_image(options.image)
        asked = read_descriptor(files, options.image.name)[None]
        question = Question("image", str(options.image), (), picture.shape[1], picture.shape[0], descriptors=files.name)
    else:
        assert options.scene is not None, "one of the two was given"
        asked = descriptors_of_scene(library, options.scene)
        question = Question("scene", options.scene, descriptors=about.other_encoder)
    found = scenes_like(library, asked, options.top, where, but=options.scene)
    hits = tuple(Hit(each.scene, each.score) for each in found)
    return Answer(question, hits, picture, views=tuple(each.view for each in found))


def _focal(path: Path, width: int, fov: float | None) -> tuple[float | None, FovFrom]:
    """Focal length in pixels: as was asked, as EXIF says, or None."""
    if fov is not None:
        return width / 2 / math.tan(math.radians(fov) / 2), "option"
    focal = read_photograph_header(path).focal_px
    return focal, "tried" if focal is None else "exif"


def fov_deg(focal: float, width: int) -> float:
    """Horizontal field of view in degrees."""
    return math.degrees(2 * math.atan(width / 2 / focal))


def _by_scene(named: str, options: SearchOptions, search: LibrarySearch, where: SceneFilter) -> Answer:
    """By a scene of the library, else by what lies at a path."""
    held = search.library.key_points().scenes
    if any(scene.name == named for scene in held):
        scene = held[index_of_scene(held, named)]
        asked = search.keypoints_of(named)
        hits = search.by_scene(asked, options.top, where, but=named, unit=unit_of(scene))
        return Answer(Question("scene", named), hits, offset_in_source=scene.facts.offset_in_source)
    if not Path(named).expanduser().exists():
        such = f", such as {near_names(held, named)}" if held else ""
        raise ConventionError("--scene", expected=f"a scene of the library{such}, or a file or folder", got=repr(named))
    asked, unit, offset = _scan_keypoints(Path(named).expanduser(), search.model)
    hits = search.by_scene(asked, options.top, where, unit=unit)
    return Answer(Question("scene", named), hits, offset_in_source=offset)


def _scan_keypoints(path: Path, model: ConsistentFeatures) -> tuple[KeyPoints, Unit, Float64[np.ndarray, "3"]]:
    """Key points of a scan about an offset, in the frame it came in; its unit; the offset."""
    sources = library_sources(path)
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources[:3])
        raise DataFormatError(path, expected="one scan", got=f"{len(sources)} of them ({names}, …)", fix="name one")
    raw = in_source_frame(sources[0].open())
    if raw.cloud.colors_u8 is None:
        raise ConventionError(f"points of {path}", expected="colours", got="none", fix="colour them from the pictures first")
    axes, settings = scan_axes(raw), EncodingSettings()
    found = scene_keypoints(model.of_points(axes(raw.cloud.points_in_world), raw.cloud.colors_u8), settings.key_points)
    local = (found.positions.astype(np.float64) * axes.world_units_per_metre) @ axes.rotation
    is_metric = raw.capture is None or raw.capture.scale == "metric"
    unit = METRE if is_metric else Unit(axes.world_units_per_metre, is_metric=False)
    return KeyPoints(local.astype(np.float32), found.features, found.scores), unit, axes.middle_in_world


def _by_object(named: str, options: SearchOptions, search: LibrarySearch, where: SceneFilter) -> Answer:
    name, _, number = named.rpartition(":")
    things = search.library.objects()
    index = index_of_scene(things.scenes, name)
    own = range(int(things.starts[index]), int(things.starts[index + 1]))
    row = next((row for row in own if int(things.ids[row]) == int(number)), None)
    if row is None:
        fix = f"scenewise library list {name} lists them"
        raise ConventionError("--object", expected=f"one of the {len(own)} things of {name}", got=number, fix=fix)
    hits = search.by_thing(things.features[row], options.top, where, but=row)
    return Answer(Question("object", named, (things.class_names[row],)), hits)

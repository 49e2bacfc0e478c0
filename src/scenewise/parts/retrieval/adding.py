"""A source becomes a scene of a library; what is there already is not looked at again."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from scenewise.errors import ConventionError
from scenewise.io.descriptor_files import DescriptorFiles, read_descriptor
from scenewise.io.scene_library.records import PutOutcome, SceneFacts, StoredScene
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.encoding import frames_looked_at
from scenewise.parts.retrieval.entering import Entering, OtherDescriptors, SceneLabels, follow_from_pictures
from scenewise.parts.retrieval.sources import LibrarySource, date_of_photographs
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class Told:
    """What a person says about scenes that are added; None: what the library or the capture says.

    Attributes:
        date: of the capture, ISO 8601.
        place: in words.
        licence: of the capture.
    """

    date: str | None = None
    place: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Added:
    """What became of a source.

    Attributes:
        outcome: whether the scene is new.
        scene: as the library has it now.
        is_encoded: whether it was looked at, or only what is known about it has changed.
    """

    outcome: PutOutcome
    scene: StoredScene
    is_encoded: bool


def add_source(
    library: SceneLibrary,
    entering: Entering,
    source: LibrarySource,
    told: Told,
    *,
    descriptors: DescriptorFiles | None = None,
    may_replace: bool = False,
) -> Added:
    """Enters a source, unless the library has it already.

    The scene of its name is replaced where it comes from the same place.  Descriptors of another network stay where none are
    named and nothing else has changed.

    Args:
        library: where to.
        entering: how.
        source: what.
        told: about it.
        descriptors: of another network.
        may_replace: also a scene that comes from elsewhere.

    Raises:
        ConventionError: a scene of this name comes from elsewhere; points without colours.
        DataFormatError, ResourceError: the source cannot be read, or the library not be written.
    """
    raw = _without_made_points(source) or source.open()
    held = _scene_of(library, source.name)
    others = None if descriptors is None else _described(raw, entering, descriptors, source.name)
    held_digest = None if held is None else held.facts.provenance.get("descriptors")
    content = entering.content_hash(raw, held_digest if others is None else others.digest)
    is_current = library.is_current(source.name, content)
    if held is not None and not is_current and not may_replace and not _is_from(held, source):
        raise ConventionError(
            f"the scene {source.name!r}",
            expected=f"{held.facts.source}, where the library's scene of this name comes from",
            got=str(source.place),
            fix="give it another name with --name, or put it in place of the other with --replace",
        )
    labels = _labels(source, raw, told, held if is_current or (held is not None and _is_from(held, source)) else None)
    if held is None or not (is_current or library.is_current(source.name, entering.content_hash(raw, held_digest))):
        outcome = library.put(entering.rows(raw if len(raw.cloud) else source.open(), labels, others))
        return Added(outcome, _scene_there(library, source.name), True)
    facts = replace(held.facts, content_hash=content, date=labels.date, place=labels.place, licence=labels.licence)
    if all(getattr(facts, name) == getattr(held.facts, name) for name in ("content_hash", "date", "place", "licence")):
        return Added("unchanged", held, False)
    return Added(_rewritten(library, facts, others), _scene_there(library, source.name), False)


def _without_made_points(source: LibrarySource) -> RawScan | None:
    """A scan with its pictures alone, where points would follow from them: enough to tell whether it has changed."""
    capture = None if source.capture is None else source.capture()
    if not follow_from_pictures(capture):
        return None
    return RawScan(source.name, PointCloud(np.zeros((0, 3))), "none yet", capture)


def _rewritten(library: SceneLibrary, facts: SceneFacts, others: OtherDescriptors | None) -> PutOutcome:
    """A scene with the vectors it has and other facts about it, or other descriptors."""
    rows = library.scene(facts.name)
    if others is not None and len(rows.views):
        known = np.stack([others.by_name[name] for name in rows.views.names])
        rows = replace(rows, views=replace(rows.views, other_descriptors=known))
        facts = replace(facts, provenance={**facts.provenance, "descriptors": others.digest})
    return library.put(replace(rows, facts=facts))


def _labels(source: LibrarySource, raw: RawScan, told: Told, held: StoredScene | None) -> SceneLabels:
    known = Told() if held is None else Told(held.facts.date, held.facts.place, held.facts.licence)
    of_capture = None if raw.capture is None else raw.capture.licence
    return SceneLabels(
        name=source.name,
        source=str(source.place),
        kind=source.kind,
        date=told.date or known.date or date_of_photographs(raw.capture),
        place=told.place or known.place,
        licence=told.licence or known.licence or of_capture,
        scan=source.scan,
    )


def _described(raw: RawScan, entering: Entering, files: DescriptorFiles, name: str) -> OtherDescriptors | None:
    """Descriptors of the pictures that are kept as views; None where there are none."""
    found = {frame.name: read_descriptor(files, frame.name, name) for frame in frames_looked_at(raw, entering.settings)}
    if not found:
        return None
    digest = hashlib.sha256(files.name.encode())
    for frame_name, vector in found.items():
        digest.update(frame_name.encode())
        digest.update(vector.tobytes())
    return OtherDescriptors(found, digest.hexdigest())


def _is_from(held: StoredScene, source: LibrarySource) -> bool:
    return held.facts.source == str(source.place) and held.facts.provenance.get("scan") == source.scan


def _scene_of(library: SceneLibrary, name: str) -> StoredScene | None:
    return next((scene for scene in library.scenes() if scene.name == name), None)


def _scene_there(library: SceneLibrary, name: str) -> StoredScene:
    found = _scene_of(library, name)
    if found is None:
        raise ConventionError("the scene", expected=f"{name!r}, just added", got="none", fix="another process has removed it")
    return found

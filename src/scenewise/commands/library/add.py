"""``scenewise library add``: captures, scenes and clouds become scenes of a library."""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scenewise.commands.library.options import LibraryAddOptions
from scenewise.commands.scene_libraries import library_uri, named_descriptors, opened_encoder
from scenewise.commands.vocabularies import vocabulary_asked_for
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, MissingDependencyError, ScenewiseError
from scenewise.io.descriptor_files import DescriptorFiles
from scenewise.io.scene_library.records import LibraryAbout, PutOutcome
from scenewise.io.scene_library.store import SceneLibrary, create_library, find_library
from scenewise.parts.retrieval.adding import Told, add_source
from scenewise.parts.retrieval.entering import Entering
from scenewise.parts.retrieval.other_descriptors import require_same_network
from scenewise.parts.retrieval.sources import LibrarySource, library_sources, named_anew
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.choose import SMALL_CLIP
from scenewise.teachers.consistent import ConsistentFeatures
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE

_PART = 2  # exit code where something could not be added
Outcome = PutOutcome | Literal["failed"]
_OUTCOMES: tuple[Outcome, ...] = ("added", "replaced", "unchanged", "failed")


@dataclass(frozen=True)
class AddedScene:
    """What became of one source.

    Attributes:
        name: of the scene.
        source: where it comes from.
        outcome: "failed" where it could not be added.
        things: that were found in it.
        views: pictures that are kept.
        key_points: that are kept.
        points: of the source.
        seconds: it took.
        reason: why it could not be added, or None.
    """

    name: str
    source: str
    outcome: Outcome
    things: int
    views: int
    key_points: int
    points: int
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class AddSummary:
    """What ``scenewise library add`` did.

    Attributes:
        library: where it is.
        is_new: whether it was made.
        encoder: all vectors come from.
        num_scenes: in the library now.
        scenes: what became of each source.
        seconds: for all of it.
    """

    library: str
    is_new: bool
    encoder: str
    num_scenes: int
    scenes: tuple[AddedScene, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """2 where a source could not be added."""
        return _PART if any(scene.outcome == "failed" for scene in self.scenes) else 0

    def text(self) -> str:
        """What could not be added and why, then the counts."""
        lines = [f"{scene.name}: not added: {scene.reason}" for scene in self.scenes if scene.outcome == "failed"]
        found: Counter[Outcome] = Counter(scene.outcome for scene in self.scenes)
        said = [f"{found[outcome]} {outcome}" for outcome in _OUTCOMES if found[outcome]]
        lines.append(f"{self.library}: {', '.join(said)}; {self.num_scenes} scenes ({duration_text(self.seconds)})")
        return "\n".join(lines)


def add_scenes(
    options: LibraryAddOptions, progress: Progress | None = None, model: ConsistentFeatures | None = None
) -> AddSummary:
    """Adds all scenes of some sources; goes on with the next one where one cannot be added.

    Args:
        options: see there.
        progress: where to report.
        model: used instead of opening the encoder.

    Raises:
        DataFormatError: no source holds anything, or what is there is no library.
        ConventionError: two sources of one name, another encoder or other classes than the library's.
        MissingDependencyError: LanceDB is not installed.
        ResourceError: the library cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    sources, unread = _named_sources(options)
    files = None if options.descriptors is None else named_descriptors(options.descriptors)
    with compute_threads(options.threads):
        library = find_library(library_uri(options.library))
        with progress.stage("open the encoder"):
            about = None if library is None else library.about
            model = opened_encoder(about, options.teacher) if model is None else model
            entering = Entering(model, _vocabulary(options, library, model))
        is_new = library is None
        if library is None:
            library = _made(library_uri(options.library), entering, files)
            progress.message(f"{library.uri}: a new library, encoder {model.name}, {len(entering.vocabulary)} classes")
        _require_fitting(library.about, entering.vocabulary, files)
        scenes = unread + _added(library, entering, sources, options, files, progress)
    return AddSummary(library.uri, is_new, model.name, len(library.scenes()), scenes, time.monotonic() - started)


def _named_sources(options: LibraryAddOptions) -> tuple[tuple[LibrarySource, ...], tuple[AddedScene, ...]]:
    """What can be opened, and what holds nothing that could be; an error where nothing can."""
    found: list[LibrarySource] = []
    errors: list[tuple[Path, ScenewiseError]] = []
    for path in options.source:
        try:
            found += library_sources(path)
        except DataFormatError as error:
            errors.append((path, error))
    if not found:
        raise errors[0][1]
    sources = named_anew(found, options.name)
    places: dict[str, Path] = {}
    for source in sources:
        if source.name in places:
            raise ConventionError(
                "names of the scenes",
                expected="each once",
                got=f"{source.name!r} from {places[source.name]} and from {source.place}",
                fix="add them one by one with --name, or the folder they lie in",
            )
        places[source.name] = source.place
    return sources, tuple(_failed(path.name, path, error, 0.0) for path, error in errors)


def _failed(name: str, place: Path, error: Exception, seconds: float) -> AddedScene:
    return AddedScene(name, str(place), "failed", 0, 0, 0, 0, seconds, str(error))


def _vocabulary(options: LibraryAddOptions, library: SceneLibrary | None, model: ConsistentFeatures) -> Vocabulary:
    """The classes that were asked for, else those of the library with their synonyms, else the encoder's."""
    if options.classes is not None or library is None or not library.about.class_names:
        chosen = vocabulary_asked_for(options.classes, model)
    else:
        chosen = _vocabulary_of(library, model)
    model.embed_text(chosen.queries, chosen.templates)  # an unknown word is told before anything is looked at
    return chosen


def _vocabulary_of(library: SceneLibrary, model: ConsistentFeatures) -> Vocabulary:
    names = library.about.class_names
    for scene in library.scenes():
        groups = scene.facts.provenance.get("classes")
        if isinstance(groups, list) and tuple(group[0] for group in groups) == names:
            return vocabulary_asked_for(", ".join("|".join(group) for group in groups), model)
    own = model.vocabulary()
    return own if own is not None and own.names == names else vocabulary_asked_for(", ".join(names), model)


def _made(uri: str, entering: Entering, files: DescriptorFiles | None) -> SceneLibrary:
    about = entering.about() if files is None else entering.about(files.name, files.dim)
    try:
        return create_library(uri, about)
    except ScenewiseError:
        library = find_library(uri)  # somebody may have been quicker
        if library is None:
            raise
        if library.about.fingerprint != about.fingerprint:
            raise ConventionError(
                f"the encoder of {uri}", expected=library.about.encoder, got=about.encoder, fix="name another library"
            ) from None
        return library


def _require_fitting(about: LibraryAbout, vocabulary: Vocabulary, files: DescriptorFiles | None) -> None:
    if about.class_names and about.class_names != vocabulary.names:
        expected = f"those of the library ({', '.join(about.class_names[:5])}, …)"
        raise ConventionError(
            "--classes",
            expected=expected,
            got=", ".join(vocabulary.names[:5]),
            fix="leave --classes out, or make a new library",
        )
    if files is not None:
        require_same_network(about, files, "leave --descriptors out, or make a new library with it")


def _added(
    library: SceneLibrary,
    entering: Entering,
    sources: Sequence[LibrarySource],
    options: LibraryAddOptions,
    files: DescriptorFiles | None,
    progress: Progress,
) -> tuple[AddedScene, ...]:
    scenes: list[AddedScene] = []
    photographed: list[str] = []
    try:
        with progress.stage("add", len(sources)) as stage:
            for source in sources:
                scenes.append(_one_added(library, entering, source, options, files, photographed))
                if scenes[-1].outcome == "failed":
                    progress.warning(f"{source.name} is not added: {scenes[-1].reason}")
                stage.advance(scene=source.name)
    except KeyboardInterrupt:
        progress.message(f"{len(scenes)} of {len(sources)} scenes are done and stay; the same command goes on with the others")
        raise
    if photographed and entering.model.about.tower == SMALL_CLIP:
        warnings.warn(
            f"{entering.model.name} has learned words in procedural rooms only: expect wrong names of things in photographs "
            f"({', '.join(photographed[:3])}{', …' if len(photographed) > 3 else ''}); a run of scenewise pretrain beside a CLIP "
            "that knows photographs names them better",
            CaptureWarning,
            stacklevel=3,
        )
    return tuple(scenes)


def _one_added(
    library: SceneLibrary,
    entering: Entering,
    source: LibrarySource,
    options: LibraryAddOptions,
    files: DescriptorFiles | None,
    photographed: list[str],
) -> AddedScene:
    """What becomes of a source; where it has photographs of anything but generated rooms, its name goes into the list."""
    started = time.monotonic()
    told = Told(options.date, options.place, options.licence)
    try:
        added = add_source(library, entering, source, told, descriptors=files, may_replace=options.replace)
    except MissingDependencyError:
        raise
    except (ScenewiseError, OSError) as error:
        return _failed(source.name, source.place, error, time.monotonic() - started)
    scene = added.scene
    if added.is_encoded and scene.num_views and scene.facts.licence != GENERATED_LICENCE:
        photographed.append(source.name)
    return AddedScene(
        name=source.name,
        source=str(source.place),
        outcome=added.outcome,
        things=scene.num_objects,
        views=scene.num_views,
        key_points=scene.num_key_points,
        points=scene.facts.num_points,
        seconds=time.monotonic() - started,
    )

"""``scenewise search``: which scenes of a library answer, and where in them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenewise.commands.scene_libraries import opened_encoder, opened_library, scenes_meant
from scenewise.commands.search.asking import Answer, Question, answered
from scenewise.commands.search.options import SearchOptions
from scenewise.commands.search.telling import FoundScene, camera_words, found_scene, hits_table, nearest_view
from scenewise.commands.search.viewing import cameras_of, view_hit
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.camera_files import write_camera_file
from scenewise.io.images import png_bytes
from scenewise.io.json_values import json_ready
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.searching import Hit, LibrarySearch, index_of_scene
from scenewise.show.contact_sheets import Tile, contact_sheet, picture_of
from scenewise.teachers.consistent import ConsistentFeatures

HITS_FILE, SHEET_FILE, CAMERA_FILE = "hits.json", "hits.png", "camera.json"


@dataclass(frozen=True)
class SearchSummary:
    """What ``scenewise search`` found.

    Attributes:
        library: where it is.
        encoder: of it.
        question: what was asked.
        hits: the best first.
        num_scenes: that were searched.
        files: that were written.
        seconds: the search took, opening apart.
        was_viewed: whether the viewer was open on the best hit, so that the table has been read.
    """

    library: str
    encoder: str
    question: Question
    hits: tuple[FoundScene, ...]
    num_scenes: int
    files: tuple[Path, ...]
    seconds: float
    was_viewed: bool = False

    def text(self) -> str:
        """A table, and what lies where; nothing new after the viewer was open."""
        if self.was_viewed:
            return f"closed the viewer on {self.hits[0].name}"
        lines = [hits_table(self.question, self.hits)]
        by_places = self.hits and self.question.descriptors is None
        if self.question.kind == "image" and by_places and all(hit.camera is None for hit in self.hits):
            lines.append("no camera in any of them sees what the picture shows: these are guesses by likeness alone")
        if self.question.kind == "scene" and by_places and all(hit.transform is None for hit in self.hits):
            lines.append("none of them could be laid on it: these are guesses by likeness alone")
        lines += [str(path) for path in self.files]
        lines.append(f"{self.num_scenes} scenes of {self.library} ({duration_text(self.seconds)})")
        return "\n".join(lines)


def search(options: SearchOptions, progress: Progress | None = None, model: ConsistentFeatures | None = None) -> SearchSummary:
    """Asks a library and writes the answer where that was asked.

    Args:
        options: see there.
        progress: where to report.
        model: used instead of opening the library's encoder; it must be the same.

    Raises:
        DataFormatError: no library, a damaged one, no such version, a picture or scan that cannot be read, or with ``view`` a
            source that is gone.
        ConventionError: words that the encoder does not know, no such scene or thing, another encoder, a filter that is none.
        MissingDependencyError: LanceDB or PoseLib, or for the viewer viser, is not installed.
        ResourceError: the disk is full, or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    library = opened_library(options.library, options.at)
    where = scenes_meant(options.where, library.about)
    with compute_threads(options.threads):
        with progress.stage("open the encoder"):
            asked = LibrarySearch(library, opened_encoder(library.about, options.teacher) if model is None else model)
        started = time.monotonic()
        with progress.stage("search"):
            answer = answered(options, asked, where)
        seconds = time.monotonic() - started
    hits, pictures = _told(library, answer)
    summary = SearchSummary(
        library=library.uri,
        encoder=asked.model.name,
        question=answer.question,
        hits=hits,
        num_scenes=len(where.rows(library.scenes())),
        files=() if options.out is None else _written(options.out, library.uri, answer, hits, pictures),
        seconds=seconds,
    )
    if options.view and answer.hits:
        for line in summary.text().splitlines():
            progress.message(line)
        view_hit(answer.hits[0].scene, hits[0].camera, progress)
        return replace(summary, was_viewed=True)
    return summary


def _told(library: SceneLibrary, answer: Answer) -> tuple[tuple[FoundScene, ...], tuple[bytes, ...]]:
    """The hits with the small picture of each: of the view that is likest or nearest to a found camera, else of the scene."""
    things = library.objects() if any(hit.things for hit in answer.hits) else None
    views = library.views() if answer.views or any(hit.camera is not None for hit in answer.hits) else None
    rows = answer.views or [None if views is None else nearest_view(hit, views) for hit in answer.hits]
    hits = tuple(
        found_scene(rank, hit, answer, things, None if row is None or views is None else views.names[row])
        for rank, (hit, row) in enumerate(zip(answer.hits, rows), start=1)
    )
    return hits, tuple(_thumbnail(library, hit, row) for hit, row in zip(answer.hits, rows))


def _thumbnail(library: SceneLibrary, hit: Hit, view: int | None) -> bytes:
    if view is not None:
        return library.thumbnails("views", [view])[0]
    return library.thumbnails("scenes", [index_of_scene(library.scenes(), hit.scene.name)])[0]


def _written(
    folder: Path, library: str, answer: Answer, hits: Sequence[FoundScene], pictures: Sequence[bytes]
) -> tuple[Path, ...]:
    files = [folder / HITS_FILE, folder / SHEET_FILE]
    atomic_write_json(files[0], _hits_json(library, answer.question, hits))
    atomic_write_bytes(files[1], png_bytes(_sheet(answer, hits, pictures)))
    best = next((hit.camera for hit in hits if hit.camera is not None), None)
    if best is not None:
        files.append(folder / CAMERA_FILE)
        write_camera_file(files[-1], cameras_of(best))
    return tuple(files)


def _hits_json(library: str, question: Question, hits: Sequence[FoundScene]) -> dict[str, Any]:
    about = {
        "frame": "Positions and transforms are in the coordinates that each scene's capture came in.",
        "camera": "camera_from_source is a rigid 4×4 with OpenCV axes; headings are degrees counter-clockwise from +X as seen "
        "from above.",
        "transform": "to_from takes coordinates of the asked scan to those of the hit; scale is part of it.",
        "score": "Higher is better, within this answer: likeness, plus the fit of a camera or the matches that agree.",
    }
    return {
        "format": "scenewise-hits",
        "version": 1,
        "about": about,
        "library": library,
        "question": json_ready(question),
        "hits": json_ready(hits),
    }


def _sheet(answer: Answer, hits: Sequence[FoundScene], pictures: Sequence[bytes]) -> Any:
    tiles = [Tile(picture_of(jpeg), (f"{hit.rank}  {hit.name}", _words(hit))) for hit, jpeg in zip(hits, pictures)]
    first = Tile(answer.picture_u8, (answer.question.asked, ", ".join(answer.question.things_asked)))
    return contact_sheet(tiles, first=first if answer.picture_u8 is not None else None)


def _words(hit: FoundScene) -> str:
    score = f"score {hit.score:.2f}"
    if hit.camera is not None:
        position, heading, agreeing = camera_words(hit.camera, " m" if hit.scale == "metric" else "")
        return f"{agreeing} agree, at {position}, heading {heading.removesuffix('°')}"
    if hit.transform is not None:
        return f"{score}, {hit.transform.agreeing} of {hit.transform.matches} agree"
    return ", ".join([score, *(thing.class_name for thing in hit.things)])

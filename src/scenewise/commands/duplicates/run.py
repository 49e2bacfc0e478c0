"""``scenewise duplicates``: which scenes of a library are one place."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.duplicates.options import DuplicatesOptions
from scenewise.commands.scene_libraries import opened_encoder, opened_library, scenes_meant
from scenewise.commands.search.telling import FoundTransform, found_transform
from scenewise.commands.text_tables import text_table
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.images import png_bytes
from scenewise.io.json_values import json_ready
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.searching import DuplicatePair, LibrarySearch, index_of_scene
from scenewise.show.contact_sheets import Tile, contact_sheet, picture_of
from scenewise.teachers.consistent import ConsistentFeatures

PAIRS_FILE, SHEET_FILE = "duplicates.json", "duplicates.png"


@dataclass(frozen=True)
class FoundPair:
    """Two scenes that are likely one place.

    Attributes:
        first: name of one.
        second: of the other.
        score: in [0, 1].
        transform: from the first to the second, in the coordinates that their captures came in.
    """

    first: str
    second: str
    score: float
    transform: FoundTransform


@dataclass(frozen=True)
class DuplicatesSummary:
    """What ``scenewise duplicates`` found.

    Attributes:
        library: where it is.
        pairs: the surest first.
        num_scenes: that were compared.
        files: that were written.
        seconds: for all of it.
    """

    library: str
    pairs: tuple[FoundPair, ...]
    num_scenes: int
    files: tuple[Path, ...]
    seconds: float

    def text(self) -> str:
        """A table."""
        found = f"{len(self.pairs)} pairs" if len(self.pairs) != 1 else "1 pair"
        lines = [] if not self.pairs else [text_table(_HEAD, [_row(pair) for pair in self.pairs], right=_NUMBERS)]
        lines += [str(path) for path in self.files]
        lines.append(f"{found} among {self.num_scenes} scenes of {self.library} ({duration_text(self.seconds)})")
        return "\n".join(lines)


_HEAD = ("first", "second", "score", "scale", "agreeing")
_NUMBERS = ("score", "scale", "agreeing")


def _row(pair: FoundPair) -> tuple[str, ...]:
    moved = pair.transform
    return pair.first, pair.second, f"{pair.score:.2f}", f"{moved.scale:.3g}", f"{moved.agreeing} of {moved.matches}"


def duplicates(
    options: DuplicatesOptions, progress: Progress | None = None, model: ConsistentFeatures | None = None
) -> DuplicatesSummary:
    """Compares the scenes of a library with each other; errors as in :func:`scenewise.commands.search.run.search`.

    Args:
        options: see there.
        progress: where to report.
        model: used instead of opening the library's encoder; it must be the same.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    library = opened_library(options.library, options.at)
    where = scenes_meant(options.where, library.about)
    with compute_threads(options.threads):
        with progress.stage("open the encoder"):
            asked = LibrarySearch(library, opened_encoder(library.about, options.teacher) if model is None else model)
        with progress.stage("compare"):
            found = asked.duplicates(options.least, where)
    pairs = tuple(_told(pair) for pair in found)
    return DuplicatesSummary(
        library=library.uri,
        pairs=pairs,
        num_scenes=len(where.rows(library.scenes())),
        files=() if options.out is None else _written(options.out, library, pairs),
        seconds=time.monotonic() - started,
    )


def _told(pair: DuplicatePair) -> FoundPair:
    first, second = pair.first.facts, pair.second.facts
    moved = found_transform(pair.pose, first.offset_in_source, second.offset_in_source)
    return FoundPair(first.name, second.name, pair.score, moved)


def _written(folder: Path, library: SceneLibrary, pairs: Sequence[FoundPair]) -> tuple[Path, ...]:
    files = (folder / PAIRS_FILE, folder / SHEET_FILE)
    about = {"transform": "to_from takes coordinates of the first capture to those of the second; scale is part of it."}
    content = {
        "format": "scenewise-duplicates",
        "version": 1,
        "about": about,
        "library": library.uri,
        "pairs": json_ready(pairs),
    }
    atomic_write_json(files[0], content)
    scenes = library.scenes()
    rows = [index_of_scene(scenes, name) for pair in pairs for name in (pair.first, pair.second)]
    pictures = library.thumbnails("scenes", rows)
    lines = [line for pair in pairs for line in ((pair.first, f"score {pair.score:.2f}"), (pair.second, ""))]
    tiles = [Tile(picture_of(jpeg), each) for jpeg, each in zip(pictures, lines)]
    atomic_write_bytes(files[1], png_bytes(contact_sheet(tiles, columns=2)))
    return files

"""What a graph network learns from, and what it is measured on."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from scenewise.commands.train_graph.options import TrainGraphOptions
from scenewise.engine.progress import Progress
from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.three_rscan.metadata import read_three_rscan_metadata
from scenewise.io.three_rscan.scans import LICENCE as SCAN_LICENCE
from scenewise.methods.vl_sat.examples import GraphData
from scenewise.methods.vl_sat.options import OracleSettings, VlSatConfig
from scenewise.methods.vl_sat.rooms import RoomGraphs, room_scans
from scenewise.methods.vl_sat.scans import ScanReading, read_seen_scans, require_scans
from scenewise.methods.vl_sat.seen import SeenScan, ThingClip, clip_of, graph_data_of
from scenewise.teachers.choose import SMALL_CLIP
from scenewise.teachers.protocol import Teacher
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES
from scenewise.worlds.seeds import LEARNING_SEEDS, VALIDATION_SEEDS

_TEMPLATES = ("a photo of a {}.",)
_MOST_VALIDATION_ROOMS = 50
_ROOMS_PER_VALIDATION_ROOM = 4


@dataclass(frozen=True)
class LearningData:
    """Labelled scans of two splits.

    Attributes:
        train: learned from.
        validation: measured on; None where there are none.
        photographed: scans of the first whose things the teacher could look at.
    """

    train: GraphData
    validation: GraphData | None
    photographed: int

    def report(self) -> dict[str, Any]:
        """What a run's folder says of it."""
        return {
            **_counts(self.train),
            "photographed_scans": self.photographed,
            "seen_things": int(sum(each.seen.sum() for each in self.train.examples)),
            "fingerprint": self.train.fingerprint,
            "validation": None if self.validation is None else _counts(self.validation),
        }


def require_data(options: TrainGraphOptions, config: VlSatConfig) -> None:
    """Refuses data that lack what is needed, before anything is asked, made or deleted; DataFormatError."""
    if options.rooms is None:
        require_scans(Path(options.data), photographs=sees_pictures(config))


def sees_pictures(config: VlSatConfig) -> bool:
    """Whether there is an oracle that is shown photographs."""
    return config.oracle is not None and config.oracle.images


def class_words(options: TrainGraphOptions, teacher: Teacher) -> Float32[np.ndarray, "classes dim"]:
    """What the teacher makes of the names of the data's classes.

    Raises:
        ConventionError: it does not know one of them.
    """
    classes = CLASS_NAMES if options.rooms is not None else read_three_rscan_metadata(Path(options.data), "train").class_names
    # One that was made for few words has prompts of its own.
    templates = _TEMPLATES if teacher.vocabulary() is None else teacher.default_templates()
    return teacher.embed_text(list(classes), templates)


def learning_data(
    options: TrainGraphOptions,
    config: VlSatConfig,
    teacher: Teacher | None,
    words: Float32[np.ndarray, "classes dim"] | None,
    progress: Progress,
) -> LearningData:
    """Reads the scans, or makes them, and shows their things to the teacher where the oracle is to see them.

    Args:
        options: which scans.
        config: what the oracle sees.
        teacher: who looks; None where nobody does.
        words: of :func:`class_words`.
        progress: where to report.

    Raises:
        DataFormatError: data that are missing or damaged.
        ConventionError: the teacher cannot be shown pictures.
    """
    oracle = OracleSettings() if config.oracle is None else config.oracle
    clip = clip_of(teacher) if teacher is not None and sees_pictures(config) else None
    cache = options.cache or options.out / "cache"
    classes: Sequence[str]
    predicates: Sequence[str]
    if options.rooms is not None:
        train, validation = _rooms(options.rooms, clip, cache, progress)
        classes, predicates, photographed = CLASS_NAMES, ROOM_PREDICATES, 0 if clip is None else len(train)
    else:
        root, reading = Path(options.data), ScanReading(options.max_points, options.every)
        read = read_seen_scans(root, "train", reading, clip, cache, progress)
        train, classes, predicates, photographed = list(read.scans), read.classes, read.predicates, read.photographed
        validation = _validation_scans(root, reading, progress)
    return LearningData(
        graph_data_of(train, classes, predicates, words, oracle),
        graph_data_of(validation, classes, predicates, words) if validation else None,
        photographed,
    )


def data_licences(options: TrainGraphOptions) -> Mapping[str, str | None]:
    """Of the data, by name."""
    if options.rooms is not None:
        return {"procedural rooms": GENERATED_LICENCE}
    return {Path(options.data).name or options.data: SCAN_LICENCE}


def warn_of_small_clip(options: TrainGraphOptions, teacher: Teacher) -> None:
    """The embedded model has seen nothing but rooms of ours."""
    if teacher.name == SMALL_CLIP and options.rooms is None:
        warnings.warn(
            f"{SMALL_CLIP} has only ever seen procedural rooms: of photographs it has little to tell. Teachers that know "
            "photographs: --teacher openai/clip-vit-base-patch32",
            CaptureWarning,
            stacklevel=2,
        )


def _rooms(count: int, clip: ThingClip | None, cache: Path, progress: Progress) -> tuple[list[SeenScan], list[SeenScan]]:
    """Rooms that the embedded CLIP has not seen, and a quarter as many others."""
    held_out = min(_MOST_VALIDATION_ROOMS, -(-count // _ROOMS_PER_VALIDATION_ROOM))
    settings = RoomGraphs()
    train = room_scans(LEARNING_SEEDS[:count], settings, cache, clip, progress=progress)
    return train, room_scans(VALIDATION_SEEDS[:held_out], settings, cache, None, progress=progress)


def _validation_scans(root: Path, reading: ScanReading, progress: Progress) -> list[SeenScan]:
    """Without pictures: what is measured sees none.  Data without them can be learned from all the same."""
    try:
        return list(read_seen_scans(root, "validation", reading, progress=progress).scans)
    except DataFormatError as error:
        warnings.warn(CaptureWarning(f"no figures, as the validation split cannot be read: {error}"), stacklevel=2)
        return []


def _counts(data: GraphData) -> dict[str, int]:
    scans = [each.scan for each in data.examples]
    return {"scans": len(scans), "things": sum(map(len, scans)), "relations": sum(len(scan.triplets) for scan in scans)}

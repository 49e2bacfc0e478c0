"""Procedural rooms as labelled scans that the embedded CLIP has seen, as studies of graph networks take them."""

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from scenewise.methods.vl_sat import rooms
from scenewise.methods.vl_sat.examples import GraphData
from scenewise.methods.vl_sat.options import OracleSettings
from scenewise.methods.vl_sat.rooms import RoomGraphs
from scenewise.methods.vl_sat.seen import SeenScan, ThingClip, clip_of, graph_data_of
from scenewise.studies.bench import say
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.small_clip import load_small_clip
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES

__all__ = ["RoomGraphs", "class_words", "graph_data", "room_scan", "room_scans"]


@cache
def _small_clip() -> ThingClip:
    return clip_of(open_teacher(SMALL_CLIP, device="cpu"))


def room_scan(seed: int, settings: RoomGraphs) -> SeenScan:
    """See :func:`scenewise.methods.vl_sat.rooms.room_scan`."""
    return rooms.room_scan(seed, settings, _small_clip())


def room_scans(seeds: Sequence[int], settings: RoomGraphs, folder: Path, jobs: int = 1) -> list[SeenScan]:
    """Rooms as scans, from files where they are there.

    Args:
        seeds: of the rooms.
        settings: how they are scanned.
        folder: of the files, some rooms each.
        jobs: processes that make what is missing.
    """
    clip, started = _small_clip(), time.monotonic()
    missing = rooms.missing_rooms(seeds, settings, folder, clip)
    scans = rooms.room_scans(seeds, settings, folder, clip, jobs=jobs)
    if missing:
        say(f"{missing} rooms scanned in {time.monotonic() - started:.0f} s: {folder}")
    return scans


def class_words() -> Float32[np.ndarray, "classes dim"]:
    """What the embedded CLIP makes of the names of the rooms' classes."""
    model = load_small_clip()
    return model.embed_text(list(CLASS_NAMES), model.language.templates)


def graph_data(scans: Sequence[SeenScan], choice: Literal["visible", "released"] = "visible", most_views: int = 5) -> GraphData:
    """Rooms as a trainer reads them.

    Args:
        scans: the rooms.
        choice: which pictures of a thing the oracle sees.
        most_views: and how many.
    """
    oracle = OracleSettings(views=choice, most_views=most_views)
    return graph_data_of(scans, CLASS_NAMES, ROOM_PREDICATES, class_words(), oracle)

"""What a pair of branches learns from: captures, folders of them and manifests, with their weights; and procedural rooms."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenewise.commands.pretrain.options import PretrainOptions
from scenewise.engine.progress import Progress
from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.capture_manifests import ListedCapture, is_manifest, read_manifest
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.rooms import RoomScans, room_files
from scenewise.parts.scans.posed_data import HOLDOUT, PosedData, PosedEntry, WeightedScan, posed_data
from scenewise.parts.scans.posing import PosingSettings
from scenewise.parts.sources.opening import has_splits, open_scans
from scenewise.teachers.choose import SMALL_CLIP
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE
from scenewise.worlds.seeds import LEARNING_SEEDS

ROOMS = "procedural rooms"
_ROOMS_PER_JOB = 8  # another process takes seconds to begin


def weighted_scans(sources: Sequence[Path], max_points: int) -> tuple[WeightedScan, ...]:
    """Every scan that was named, in order, each under a name of its own; none is opened yet.

    Args:
        sources: captures, scene folders, folders of captures, manifests.
        max_points: of a scan, where they are made of depth or matches.

    Raises:
        DataFormatError: nothing there, nothing that can be read, a damaged manifest, or a capture named twice.
    """
    listed: list[ListedCapture] = []
    for source in sources:
        if not source.exists():
            raise DataFormatError(
                source, expected="a capture, a folder of captures or a manifest", got="nothing", fix="check the path"
            )
        listed += read_manifest(source) if is_manifest(source) else (ListedCapture(source),)
    places = [(each.path.resolve(), each.split) for each in listed]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise DataFormatError(listed[index].path, expected="each capture once", got="it twice", fix="name it once")
    return _told_apart([scan for each in listed for scan in _scans_of(each, max_points)])


def learning_data(
    options: PretrainOptions,
    config: CondenseConfig,
    scans: Sequence[WeightedScan],
    teacher: ClipTeacher,
    jobs: int,
    progress: Progress,
) -> PosedData:
    """Prepares scans and rooms, or finds them prepared.

    Args:
        options: which.
        config: how much of each is kept.
        scans: of the captures.
        teacher: whose dense features are the prior.
        jobs: processes that make rooms.
        progress: where to report.

    Raises:
        ConventionError: no scan can be used.
        DataFormatError, ResourceError: data or disk.
    """
    folder = options.cache or options.out / "cache"
    parts = []
    if scans:
        settings = PosingSettings(config.picture_width, config.most_views)
        parts.append(posed_data(scans, teacher, settings, folder, progress))
    if options.rooms is not None:
        parts.append(_rooms(options.rooms, config, folder, teacher, jobs, progress))
    return parts[0] if len(parts) == 1 else parts[0].joined(parts[1])


def asked_for(options: PretrainOptions, scans: Sequence[WeightedScan]) -> dict[str, Any]:
    """What a run's folder says of its data before any of it is prepared."""
    return {
        "sources": [str(source) for source in options.sources],
        "rooms": options.rooms,
        "scans": len(scans) + (options.rooms or 0),
    }


def warn_of_small_clip(options: PretrainOptions, teacher: ClipTeacher) -> None:
    """The embedded model has seen nothing but rooms of ours."""
    if teacher.name == SMALL_CLIP and options.sources:
        warnings.warn(
            f"{SMALL_CLIP} has only ever seen procedural rooms: of photographs it has little to tell. Teachers that know "
            "photographs: --teacher openai/clip-vit-base-patch16, --teacher facebook/dinov2-small",
            CaptureWarning,
            stacklevel=2,
        )


def _scans_of(listed: ListedCapture, max_points: int) -> list[WeightedScan]:
    split = listed.split or ("train" if has_splits(listed.path) else None)
    sources = open_scans(listed.path, split, max_points=max_points)
    if not sources:
        raise DataFormatError(listed.path, expected="at least one scan", got="none")
    weight = 1.0 if listed.weight is None else listed.weight / len(sources)
    origin = listed.name or listed.path.resolve().name
    names = [source.name for source in sources]
    if listed.name is not None:
        names = [listed.name] if len(names) == 1 else [f"{listed.name}/{name}" for name in names]
    return [WeightedScan(source, name, weight, origin) for source, name in zip(sources, names)]


def _told_apart(scans: Sequence[WeightedScan]) -> tuple[WeightedScan, ...]:
    """A number behind names that several scans have."""
    counts: dict[str, int] = {}
    named = []
    for scan in scans:
        counts[scan.name] = counts.get(scan.name, 0) + 1
        named.append(scan if counts[scan.name] == 1 else replace(scan, name=f"{scan.name} ({counts[scan.name]})"))
    return tuple(named)


def _rooms(count: int, config: CondenseConfig, folder: Path, teacher: ClipTeacher, jobs: int, progress: Progress) -> PosedData:
    """Rooms that the embedded CLIP has not seen."""
    seeds = LEARNING_SEEDS[:count]
    settings = RoomScans(views=config.most_views, width=config.picture_width, height=config.picture_width * 3 // 4)
    jobs = min(jobs, max(1, count // _ROOMS_PER_JOB))
    files = room_files(seeds, settings, folder, teacher, jobs=jobs, progress=progress)
    held_out = tuple(range(0, config.most_views, HOLDOUT)) if config.most_views > 1 else ()
    learned = tuple(view for view in range(config.most_views) if view not in held_out)
    entries = tuple(
        PosedEntry(f"room-{seed}", path, fingerprint, 1.0, learned, held_out)
        for seed, path, fingerprint in zip(seeds, files.paths, files.fingerprints)
    )
    return PosedData(entries, {ROOMS: GENERATED_LICENCE}, {})

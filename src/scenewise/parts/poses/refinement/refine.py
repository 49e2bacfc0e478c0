"""Poses, lenses and the depth camera of a capture made to fit its pictures: a list of things that are made once."""

import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from scenewise.engine.data_hash import head_digest
from scenewise.engine.jobs import Job, run_jobs
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_folder, atomic_path, atomic_write_json
from scenewise.io.captures import open_capture
from scenewise.io.json_fields import read_json_object
from scenewise.io.json_values import fingerprint_of, json_ready
from scenewise.kernels.native import library
from scenewise.parts.points.from_depth import surface_sample
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.poses.mapping import import_pycolmap
from scenewise.parts.poses.refinement.bundle import AdjustedBundle, Bundle, BundleSettings, choose_tracks, errors_of, free_lens
from scenewise.parts.poses.refinement.child import ADJUSTED_FILE, ROUNDS_FILE, UNITS, read_adjusted, write_bundle
from scenewise.parts.poses.refinement.matches import FreeMatches, MatchSettings, match_freely
from scenewise.parts.poses.refinement.output import HELD_OUT_NAME, layout_for, leaves_depth_out, needs_split_file, write_capture
from scenewise.parts.poses.refinement.placing import LocalFrame, Placed, local_frame, place
from scenewise.parts.poses.refinement.records import PosesRefined, RefinedDepth, RefinedLens
from scenewise.parts.poses.refinement.views import RefinementViews, pairs_to_match, plausible_matches, refinement_views
from scenewise.scenes.captures import Capture

REFINED_FILE = "refined.json"
_FEWEST_VIEWS = 3
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class RefinementRequest:
    """What is asked for.

    Attributes:
        capture: with poses.
        out: folder to write.
        seed: of every random choice.
        matching: how views are matched.
        bundle: limits of the adjustment; its seed is replaced.
        partners: views that each is matched with, about.
        threads: workers; None for all cores this process may use.
        seconds: the adjustment may take, or None.
        overwrite: replace what an earlier refinement wrote.
        command: of the process that adjusts, to which its folder is added.
    """

    capture: Path
    out: Path
    seed: int = 0
    matching: MatchSettings = field(default_factory=MatchSettings)
    bundle: BundleSettings = field(default_factory=BundleSettings)
    partners: int = 12
    threads: int | None = None
    seconds: float | None = None
    overwrite: bool = False
    command: tuple[str, ...] = (sys.executable, "-m", "scenewise.parts.poses.refinement.child")


def refine_poses(request: RefinementRequest, progress: Progress | None = None) -> PosesRefined:
    """Adjusts poses, focal length and distortion to matches between the pictures, places the depth camera, writes a capture.

    The given poses choose what is matched and where the adjustment starts; nothing holds it there.  Held-out views take part
    with their pictures.  What an interrupted run had made is found again in a hidden folder beside ``out``.

    Args:
        request: what is asked for.
        progress: told what is done and how long it will take.

    Raises:
        DataFormatError: nothing that can be read, an output folder in use, pictures that are no files.
        ConventionError: too few views, or too little in common.
        MissingDependencyError: pycolmap or OpenCV is not installed.
        ResourceError: the time is over, or memory or disk do not suffice.
        JobFailedError: the process that adjusts ended unexpectedly.
    """
    began = time.monotonic()
    progress = NullProgress() if progress is None else progress
    import_pycolmap()
    _prepare(request)
    capture = open_capture(request.capture)
    views = refinement_views(capture)
    if len(views.frames) < _FEWEST_VIEWS:
        raise ConventionError(
            str(request.capture), expected=f"at least {_FEWEST_VIEWS} views with a picture", got=len(views.frames)
        )
    threads = library.default_threads() if request.threads is None else request.threads
    work = request.out.with_name(f".{request.out.name}.refining")
    fingerprint = _fingerprint(request, views)
    _claim(work, fingerprint)
    matches = _matches(request, capture, views, work, threads, progress)
    given, local = _given_bundle(views, matches, request)
    found = _adjusted(request, given, matches.pixel_scale, work, progress)
    placed = place(views, given, found, local)
    record = _record(request, capture, views, given, found, placed, time.monotonic() - began)
    with atomic_folder(request.out, replace=request.overwrite) as folder:
        write_capture(folder, capture, views, found, placed)
        atomic_write_json(folder / REFINED_FILE, json_ready(record))
    shutil.rmtree(work, ignore_errors=True)
    for warning in record.warnings:
        warnings.warn(f"{request.capture}: {warning}", CaptureWarning, stacklevel=2)
    return record


def _prepare(request: RefinementRequest) -> None:
    out = request.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / REFINED_FILE).is_file():
        raise DataFormatError(
            out, expected="a new folder, or one that --refine wrote", got="something else", fix="choose another folder"
        )
    if not request.overwrite:
        raise DataFormatError(out, expected="a new folder", got="an earlier refinement", fix="--overwrite replaces it")


def _fingerprint(request: RefinementRequest, views: RefinementViews) -> str:
    pictures = [[frame.name, head_digest(frame.image_path)] for frame in views.frames if frame.image_path is not None]
    poses = [pose.tolist() for pose in views.camera_from_world]
    lenses = [asdict(lens) for lens in views.lenses]
    asked = [request.seed, asdict(request.matching), asdict(request.bundle), request.partners]
    return fingerprint_of({"pictures": pictures, "poses": poses, "lenses": lenses, "asked": asked})


def _claim(work: Path, fingerprint: str) -> None:
    """Empties the working folder of what another refinement left there."""
    claim = work / "claim.json"
    try:
        is_ours = claim.is_file() and read_json_object(claim).text("fingerprint") == fingerprint
    except ScenewiseError:
        is_ours = False
    if not is_ours:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        atomic_write_json(claim, {"fingerprint": fingerprint})


def _matches(
    request: RefinementRequest, capture: Capture, views: RefinementViews, work: Path, threads: int, progress: Progress
) -> FreeMatches:
    from safetensors.numpy import load_file, save_file

    file = work / "matches.safetensors"
    if not file.is_file():
        pairs = pairs_to_match(views, surface_sample(capture, threads=threads), request.partners)
        progress.message(f"{len(views.frames)} views, {len(pairs):,} pairs to match")
        found = match_freely(views.frames, pairs, request.matching, threads=threads, progress=progress)
        arrays = {f"pixels_{view}": pixels for view, pixels in enumerate(found.pixels)}
        with atomic_path(file) as beside:
            save_file(arrays | {"matches": found.matches, "scale": np.array([found.pixel_scale])}, beside)
    kept = load_file(file)
    pixels = tuple(kept[f"pixels_{view}"] for view in range(len(views.frames)))
    return FreeMatches(pixels, kept["matches"], float(kept["scale"][0]))


def _given_bundle(views: RefinementViews, matches: FreeMatches, request: RefinementRequest) -> tuple[Bundle, LocalFrame]:
    """The sightings to use, with the cameras as given.

    Raises:
        ConventionError: the views have too little in common.
    """
    settings = replace(request.bundle, seed=request.seed)
    plausible = plausible_matches(views, matches.pixels, matches.matches)
    tracks = replace(matches, matches=matches.matches[plausible]).tracks()
    tracks = _numbered(tracks.selected(choose_tracks(tracks, len(views.frames), settings)))
    photographed = np.empty_like(tracks.pixels)
    for view in range(len(views.frames)):
        mine = tracks.view == view
        photographed[mine] = views.photographed(view, tracks.pixels[mine])
    if len(np.unique(tracks.view)) < _FEWEST_VIEWS:
        raise ConventionError(
            str(request.capture),
            expected="views that show the same things",
            got="no point that three of them show",
            fix="check that the poses belong to these pictures: views are matched with those that see the same by their poses",
        )
    local = local_frame(views.centers)
    poses = local.camera_from_local(views.camera_from_world)
    return Bundle(views.lenses, views.lens_of, poses, Observations(tracks.point, tracks.view, photographed)), local


def _numbered(tracks: Observations) -> Observations:
    """The same with points 0 … t − 1."""
    return Observations(np.unique(tracks.point, return_inverse=True)[1].reshape(-1), tracks.view, tracks.pixels)


def _adjusted(request: RefinementRequest, given: Bundle, pixel_scale: float, work: Path, progress: Progress) -> AdjustedBundle:
    """Has a process adjust the bundle, unless it has."""
    if not (work / ADJUSTED_FILE).is_file():
        start = replace(given, lenses=tuple(map(free_lens, given.lenses)))
        settings = replace(request.bundle, seed=request.seed)
        write_bundle(work, "bundle", start, {"settings": asdict(settings), "pixel_scale": pixel_scale})
        (work / ROUNDS_FILE).unlink(missing_ok=True)
        job = Job(
            name="adjusting",
            command=(*request.command, str(work.resolve())),
            journal=work / ROUNDS_FILE,
            errors=work / "errors.txt",
            units=UNITS,
            environment=_ONE_THREAD,
            seconds=request.seconds,
        )
        run_jobs([job], progress=progress)
    return read_adjusted(work)


def _record(
    request: RefinementRequest,
    capture: Capture,
    views: RefinementViews,
    given: Bundle,
    found: AdjustedBundle,
    placed: Placed,
    seconds: float,
) -> PosesRefined:
    before = views.camera_from_world
    if placed.follows == "depth" and placed.depth is not None:
        before = np.linalg.inv(np.linalg.inv(before) @ placed.depth.after.depth_from_color)
    moved, turned = _differences(before, placed.camera_from_world)
    return PosesRefined(
        capture=request.out,
        source=request.capture,
        written_as=layout_for(capture),
        split_file=request.out / HELD_OUT_NAME if needs_split_file(capture) else None,
        views=len(views.frames),
        adjusted=int(found.adjusted.sum()),
        kept_pose=tuple(frame.name for frame, new in zip(views.frames, found.adjusted.tolist()) if not new),
        tracks=len(np.unique(given.observations.point)),
        sightings=len(given.observations.point),
        agreeing=float(found.kept.mean()),
        reprojection_px_before=_median(errors_of(given)),
        reprojection_px=_median(errors_of(found.bundle)),
        lenses=_lenses(given, found.bundle),
        metric=capture.scale == "metric",
        moved=float(np.median(moved)),
        moved_most=float(moved.max()),
        turned_deg=float(np.median(turned)),
        turned_most_deg=float(turned.max()),
        scale_change=placed.scale_change,
        given_poses_follow=placed.follows,
        depth_left_out=leaves_depth_out(capture),
        depth=_depth(placed),
        seconds=seconds,
    )


def _differences(
    before: Float64[np.ndarray, "n 4 4"], after: Float64[np.ndarray, "n 4 4"]
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Distances between centres, and angles in degrees."""
    change = np.linalg.inv(before) @ after  # of axes, in the world
    centers = [np.linalg.inv(poses)[:, :3, 3] for poses in (before, after)]
    cosine = np.clip((np.trace(change[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1.0, 1.0)
    return np.linalg.norm(centers[0] - centers[1], axis=1), np.rad2deg(np.arccos(cosine))


def _median(values: Float64[np.ndarray, "o"]) -> float | None:
    middle = float(np.median(values)) if len(values) else np.inf
    return middle if np.isfinite(middle) else None


def _lenses(given: Bundle, found: Bundle) -> tuple[RefinedLens, ...]:
    return tuple(
        RefinedLens(
            views=int((given.lens_of == index).sum()),
            width=old.width,
            height=old.height,
            model_before=old.model,
            model=new.model,
            focal_px_before=(float(old.K[0, 0]), float(old.K[1, 1])),
            focal_px=(float(new.K[0, 0]), float(new.K[1, 1])),
            distortion_before=old.extra,
            distortion=new.extra,
        )
        for index, (old, new) in enumerate(zip(given.lenses, found.lenses))
    )


def _depth(placed: Placed) -> RefinedDepth | None:
    if placed.depth is None:
        return None
    transform, before = placed.depth.after.depth_from_color, placed.depth.before.median_error
    cosine = float(np.clip((np.trace(transform[:3, :3]) - 1) / 2, -1.0, 1.0))
    x, y, z = (1000.0 * float(value) for value in transform[:3, 3])
    return RefinedDepth(
        error_before_m=before if np.isfinite(before) else None,
        error_m=placed.depth.after.median_error,
        measured=placed.depth.after.count,
        offset_mm=(x, y, z),
        turn_deg=float(np.rad2deg(np.arccos(cosine))),
        transform_given=placed.depth.transform_given,
    )

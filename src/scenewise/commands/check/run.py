"""``scenewise check``: looks at a capture before minutes or hours are spent on it."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from scenewise.commands.check.calibration import calibration_of
from scenewise.commands.check.depth import depth_quality
from scenewise.commands.check.images import image_quality
from scenewise.commands.check.masks import mask_findings
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.place import summary_of
from scenewise.commands.check.poses import coverage_of, pose_health, view_geometry
from scenewise.commands.check.prediction import predict
from scenewise.commands.check.problems import Problem, problems_of
from scenewise.commands.check.report import CheckReport
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.placing import source_from_world
from scenewise.io.splits import with_split
from scenewise.parts.points.from_depth import surface_sample
from scenewise.scenes.captures import Capture


def check_command(options: CheckOptions, progress: Progress) -> CheckReport:
    """What the command line runs.

    Raises:
        DataFormatError: the capture cannot be read; with ``strict``, too, when an image is missing.
        ConventionError: with ``strict``, when there is any error or warning; all of them are named.
    """
    with _noticed() as notices:
        capture = open_capture(
            options.capture,
            preset=options.preset,
            factor=options.downscale,
            background=options.background,
            alpha=options.alpha,
        )
        capture = with_split(capture, options.split)
    if options.strict:
        usable_frames(capture, strict=True)  # before images are decoded, which takes long
    report = check_capture(capture, progress=progress, notices=notices, budget=options.budget_bytes)
    if options.strict:
        serious = [problem for problem in report.problems if problem.severity != "note"]
        if serious:
            raise ConventionError(
                str(options.capture),
                expected="a capture without errors and warnings",
                got="; ".join(problem.message for problem in serious),
                fix=serious[0].fix,
            )
    return report


@contextmanager
def _noticed() -> Iterator[list[CaptureWarning]]:
    """What readers warn of in the block, to be reported with everything else; other warnings pass."""
    notices: list[CaptureWarning] = []
    with warnings.catch_warnings():
        pass_on = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if isinstance(message, CaptureWarning):
                notices.append(message)
            else:
                pass_on(message, category, *rest, **more)

        warnings.simplefilter("always", CaptureWarning)
        warnings.showwarning = show
        try:
            yield notices
        except BaseException:  # there will be no report to hold them
            for notice in notices:
                pass_on(notice, CaptureWarning, __file__, 0)
            raise


def check_capture(
    capture: Capture,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    notices: Sequence[CaptureWarning] = (),
    budget: int | None = None,
) -> CheckReport:
    """Examines poses, files, pixels, coverage, scale and place of a capture, and predicts what training will take.

    Nothing is written.  Images are decoded once, at most about 200 megapixels of them (an even sample of larger captures).

    Args:
        capture: as opened, missing images included.
        threads: workers that decode, and the threads the prediction assumes.
        progress: shows how many images are decoded.
        notices: what its reader warned of.
        budget: memory that blocks are to keep to, in bytes, or None.

    Returns:
        The findings; problems are sorted by severity.
    """
    started = time.monotonic()
    progress = NullProgress() if progress is None else progress
    frames = capture.frames_with_image
    poses = images = coverage = calibration = prediction = depth = masks = None
    if frames:
        surface = surface_sample(capture, threads=threads)
        geometry = view_geometry(frames, surface)
        poses = pose_health(tuple(frame.name for frame in frames), geometry)
        coverage = coverage_of(geometry, poses.layout, capture.up_in_world, surface)
        depth = depth_quality(frames)
        images = image_quality(frames, geometry.neighbours, threads=threads, progress=progress)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaptureWarning)  # masks that leave nothing are named below, all of them at once
            calibration = calibration_of(frames, geometry.neighbours, threads=threads, progress=progress)
            masks = mask_findings(frames, threads=threads, progress=progress)
    if capture.train_frames:
        prediction = predict(capture, threads, budget)
    georeference = None if capture.georeference is None else summary_of(capture.georeference)
    sizes: dict[str, int] = {}
    for frame in capture.frames:
        size = f"{frame.camera.width}×{frame.camera.height}"
        sizes[size] = sizes.get(size, 0) + 1
    missing: dict[str, list[str]] = {}
    for frame in capture.missing_frames:
        path = frame.image_path if frame.image_path is not None else capture.root / frame.name
        missing.setdefault(str(path.parent), []).append(str(path))
    problems = problems_of(capture, poses, images, coverage, calibration, georeference, masks, depth=depth, notices=notices)
    up = None if capture.up_in_world is None else tuple(float(value) for value in capture.up_in_world)
    origin = source_from_world(capture.world_from_source)[:3, 3]
    return CheckReport(
        capture=str(capture.root),
        source_format=capture.source_format,
        preset=capture.preset,
        listed=len(capture.frames),
        images=len(frames),
        train=len(capture.train_frames),
        test=len(capture.test_frames),
        image_sizes=sizes,
        has_depth=sum(frame.load_depth is not None for frame in capture.frames),
        has_masks=sum(frame.load_mask is not None for frame in capture.frames),
        alpha_masks=sum(frame.load_mask is not None and frame.mask_path is None for frame in capture.frames),
        masks=masks,
        points=0 if capture.points is None else len(capture.points),
        missing={folder: tuple(paths) for folder, paths in missing.items()},
        poses=poses,
        images_quality=images,
        coverage=coverage,
        calibration=calibration,
        scale=capture.scale,
        up_in_world=up if up is None else (up[0], up[1], up[2]),
        origin_in_source=(float(origin[0]), float(origin[1]), float(origin[2])),
        georeference=georeference,
        prediction=prediction,
        problems=problems,
        seconds=time.monotonic() - started,
    )


def quick_problems(capture: Capture, *, threads: int = 2, progress: Progress | None = None) -> tuple[Problem, ...]:
    """The errors and warnings that show without decoding more than a few photographs; missing files, which opening names, are
    left out.

    Whether poses fit the pictures is asked where there is depth, some seconds long: such poses come from another sensor, others
    from the pictures themselves.

    Args:
        capture: as opened.
        threads: workers that decode.
        progress: shows how far it is.
    """
    progress = NullProgress() if progress is None else progress
    frames = tuple(replace(frame, missing_mask=None, missing_depth=None) for frame in capture.frames_with_image)
    capture = replace(capture, frames=frames)
    surface = surface_sample(capture, threads=threads)
    geometry = view_geometry(frames, surface)
    poses = pose_health(tuple(frame.name for frame in frames), geometry)
    coverage = coverage_of(geometry, poses.layout, capture.up_in_world, surface)
    calibration = None
    if any(frame.load_depth is not None for frame in frames):
        calibration = calibration_of(frames, geometry.neighbours, threads=threads, progress=progress)
    georeference = None if capture.georeference is None else summary_of(capture.georeference)
    depth = depth_quality(frames)
    found = problems_of(capture, poses, None, coverage, calibration, georeference, depth=depth)
    return tuple(problem for problem in found if problem.severity != "note")

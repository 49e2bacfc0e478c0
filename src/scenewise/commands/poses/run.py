"""``scenewise poses``: from photographs or a film to a capture with poses, or from such a capture to a better one."""

from dataclasses import replace

from scenewise.commands.poses.options import PosesOptions
from scenewise.commands.poses.refine import refine_command
from scenewise.engine.progress import NullProgress, Progress
from scenewise.parts.poses.capture import PosesRequest, find_poses
from scenewise.parts.poses.records import PosesFound
from scenewise.parts.poses.refinement.records import PosesRefined
from scenewise.parts.poses.settings import PoseSettings


def poses_command(options: PosesOptions, progress: Progress | None = None) -> PosesFound | PosesRefined:
    """Finds the poses of photographs or of a film, or refines those of a capture, and writes a capture.

    Raises:
        DataFormatError: nothing that can be read, too few pictures, an output folder in use.
        ConventionError: no picture can be registered; with ``strict``, when one is left out.
        MissingDependencyError: pycolmap or OpenCV is not installed.
        ResourceError: the time is over, or memory or disk do not suffice.
        JobFailedError: the mapper ended unexpectedly.
    """
    if options.refine:
        return refine_command(options, progress)
    settings = PoseSettings(pairs=options.pairs, lens=options.lens, seed=options.seed)
    if options.max_side is not None:
        settings = replace(settings, max_side=options.max_side)
    request = PosesRequest(
        source=options.photographs,
        out=options.out,
        settings=settings,
        frames=options.frames,
        threads=options.threads,
        seconds=None if options.minutes is None else 60.0 * options.minutes,
        resume=options.resume,
        overwrite=options.overwrite,
    )
    return find_poses(request, strict=options.strict, progress=NullProgress() if progress is None else progress)

"""``scenewise poses``: from photographs or a film to a capture with poses."""

from scenewise.commands.poses.options import PosesOptions
from scenewise.engine.progress import NullProgress, Progress
from scenewise.parts.poses.capture import PosesRequest, find_poses
from scenewise.parts.poses.records import PosesFound
from scenewise.parts.poses.settings import PoseSettings


def poses_command(options: PosesOptions, progress: Progress | None = None) -> PosesFound:
    """Finds the poses of photographs or of a film and writes a capture.

    Raises:
        DataFormatError: nothing that can be read, too few pictures, an output folder in use.
        ConventionError: no picture can be registered; with ``strict``, when one is left out.
        MissingDependencyError: pycolmap or OpenCV is not installed.
        ResourceError: the time is over, or memory or disk do not suffice.
        JobFailedError: the mapper ended unexpectedly.
    """
    settings = PoseSettings(pairs=options.pairs, lens=options.lens, seed=options.seed, max_side=options.max_side)
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

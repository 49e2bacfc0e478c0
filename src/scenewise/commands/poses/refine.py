"""``scenewise poses CAPTURE --refine``: poses, lenses and the depth camera made to fit the pictures."""

from dataclasses import replace

from scenewise.commands.poses.options import PosesOptions
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError
from scenewise.parts.poses.refinement.matches import MatchSettings
from scenewise.parts.poses.refinement.records import PosesRefined
from scenewise.parts.poses.refinement.refine import RefinementRequest, refine_poses


def refine_command(options: PosesOptions, progress: Progress | None = None) -> PosesRefined:
    """Refines the poses of a capture and writes another beside it; goes on by itself where an interrupted run stopped.

    Raises:
        DataFormatError: nothing that can be read, pictures that are no files, an output folder in use.
        ConventionError: too few views or too little in common; with ``strict``, when a view keeps its given pose.
        MissingDependencyError: pycolmap or OpenCV is not installed.
        ResourceError: the time is over, or memory or disk do not suffice.
        JobFailedError: the process that adjusts ended unexpectedly.
    """
    matching = MatchSettings()
    if options.max_side is not None:
        matching = replace(matching, max_side=options.max_side)
    request = RefinementRequest(
        capture=options.photographs,
        out=options.out,
        seed=options.seed,
        matching=matching,
        threads=options.threads,
        seconds=None if options.minutes is None else 60.0 * options.minutes,
        overwrite=options.overwrite,
    )
    refined = refine_poses(request, NullProgress() if progress is None else progress)
    if options.strict and refined.kept_pose:
        raise ConventionError(
            str(options.photographs),
            expected="a new pose for every view",
            got=f"{refined.adjusted} of {refined.views}",
            fix="leave --strict out, or the views that are named: " + ", ".join(refined.kept_pose[:8]),
        )
    return refined

"""Photographs and films that come without poses, as input of a reconstruction."""

import re
import time
import warnings
from dataclasses import replace
from pathlib import Path

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.engine.journal import Journal
from scenewise.engine.progress import Progress, duration_text
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.captures import is_capture, open_capture
from scenewise.io.films import is_film
from scenewise.io.product_kinds import POSES
from scenewise.io.scene_folder import CAPTURE_FOLDER
from scenewise.io.splits import with_split
from scenewise.parts.poses.capture import PosesRequest, expected_seconds, find_poses
from scenewise.parts.poses.mapping import import_pycolmap
from scenewise.parts.poses.pairs import expected_pairs
from scenewise.parts.poses.photographs import FEWEST_PHOTOGRAPHS, PICTURE_FOLDERS, pictures_in
from scenewise.parts.poses.settings import PoseSettings


def lacks_poses(path: Path) -> bool:
    """Whether a path is a film, or a folder of photographs and of nothing that :func:`open_capture` reads."""
    if is_film(path):
        return True
    return path.is_dir() and not is_capture(path) and len(pictures_in(path)) >= FEWEST_PHOTOGRAPHS


def check_source(options: ReconstructOptions) -> None:
    """Refuses what cannot be, before anything is written and before anything of a scene that is to be replaced is deleted.

    Raises:
        DataFormatError: poses are missing and ``no_poses`` forbids to find them; with ``overwrite``, an unreadable capture.
        ConventionError: the capture lies in the scene folder that is to be replaced.
        MissingDependencyError: poses are missing, and what finds them is not installed.
    """
    path = options.capture
    if options.no_poses and options.preset is None and lacks_poses(path):
        raise DataFormatError(
            path,
            expected="camera poses",
            got="a film" if is_film(path) else f"{len(pictures_in(path))} photographs without any",
            fix=f"leave --no-poses out, or run scenewise poses {path} --out CAPTURE and reconstruct CAPTURE",
        )
    inside = (options.out / CAPTURE_FOLDER).resolve()
    if options.overwrite and inside in (path.resolve(), *path.resolve().parents):
        raise ConventionError(
            "--overwrite",
            expected="a capture outside the scene folder that is replaced",
            got=str(path),
            fix="name the photographs themselves, or another --out",
        )
    if options.preset is None and lacks_poses(path):
        import_pycolmap()
    elif options.overwrite:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaptureWarning)  # of which the run tells: it reads again, once the old scene has gone
            with_split(open_capture(path, preset=options.preset, factor=options.downscale), options.split)


def with_poses(options: ReconstructOptions, folder: Path, journal: Journal, progress: Progress) -> ReconstructOptions:
    """The options as they are where the capture has poses; otherwise those of the capture in the scene folder, made now or found.

    Raises:
        see :func:`scenewise.parts.poses.capture.find_poses`.
    """
    source = options.capture
    if options.preset is not None or not lacks_poses(source):
        return options
    settings = PoseSettings(seed=options.seed)
    pictures = pictures_in(source)
    progress.message(f"{source} has no camera poses; they are found first" + _time_it_takes(pictures, settings))
    out = folder / CAPTURE_FOLDER / _capture_name(source)
    request = PosesRequest(source, out, settings, threads=options.threads, resume=True)
    began, is_new = time.monotonic(), not (out / POSES.mark).is_file()
    found = find_poses(request, strict=options.strict, progress=progress)
    if is_new:
        journal.write("stage", name="find the poses", seconds=time.monotonic() - began)
    progress.message(found.figures())
    return replace(options, capture=out)


def _time_it_takes(pictures: list[Path], settings: PoseSettings) -> str:
    if not pictures:
        return ": once its frames are chosen it is told how long that takes"
    pairs = expected_pairs(len(pictures), settings)
    return f", about {duration_text(expected_seconds(len(pictures), pairs))} for {len(pictures)} photographs on two cores"


def _capture_name(source: Path) -> str:
    """What the scene is called after: the film, or the folder, or where that is only called ``images`` the one above.

    >>> _capture_name(Path("/data/house/images")), _capture_name(Path("/data/way home.mp4"))
    ('house', 'way_home')
    """
    whole = source.resolve()
    named = whole.parent.name if whole.name in PICTURE_FOLDERS and whole.parent.name else whole.name
    stem = Path(named).stem if is_film(source) or Path(named).suffix.lower() == ".mp4" else named
    return re.sub(r"[^\w.-]", "_", stem).lstrip(".") or "capture"

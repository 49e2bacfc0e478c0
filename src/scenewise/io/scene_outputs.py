"""Whether and how a folder may become a scene: nothing of an older one goes before a newer one can begin."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.atomic import disk_errors, recover_folder
from scenewise.io.listed_files import visible
from scenewise.io.scene_folder import (
    CAPTURE_FOLDER,
    CHECKPOINTS_FOLDER,
    CLASS_SPLATS_FILE,
    COMPACT_FILE,
    DIFF_FILE,
    DIFF_PICTURE_FILE,
    DISTILLATION_FILE,
    ERRORS_FILE,
    GRAPH_FILES,
    JOURNAL_FILE,
    MARKER_FILE,
    POINTS_FILE,
    REPORT_FILE,
    WORKERS_FOLDER,
    is_scene_folder,
    mark_scene_folder,
)

_DERIVED = (
    COMPACT_FILE,
    POINTS_FILE,
    "labels_splats.safetensors",
    "labels_points.safetensors",
    "features/teacher_splats.safetensors",
    "features/teacher_points.safetensors",
    CLASS_SPLATS_FILE,
    "classes.json",
    *GRAPH_FILES,
    DIFF_FILE,
    DIFF_PICTURE_FILE,
    REPORT_FILE,
    JOURNAL_FILE,
    DISTILLATION_FILE,
)
# What else a run keeps while it works, and deletes with the scene: teachers and students of other sizes, a coarse model and
# blocks, poses it found itself.
_DERIVED_FOLDERS = ("teachers", "students", "coarse", "blocks", "city", WORKERS_FOLDER, CAPTURE_FOLDER)


def require_place_for_scene(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Refuses a folder that no scene may be written into; a scene that was being replaced when a process died is put back.

    A new or empty folder is always fine, a scene folder with ``resume`` or ``overwrite``.

    Raises:
        DataFormatError: a file stands there, the folder holds something else than a scene, or it holds a scene and neither flag
            was given.
    """
    folder = Path(folder)
    recover_folder(folder)
    if folder.exists() and not folder.is_dir():
        raise DataFormatError(folder, expected="a folder", got="a file", fix="choose another name")
    if folder.is_dir() and (is_scene_folder(folder) or visible(folder.iterdir())):
        if not is_scene_folder(folder):
            raise DataFormatError(
                folder, expected="a new, an empty or a scene folder", got="a folder with other files", fix="choose another folder"
            )
        if not (overwrite or resume):
            raise DataFormatError(
                folder, expected="a new folder", got="an existing scene", fix="--resume continues it, --overwrite replaces it"
            )


def prepare_output(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> Path:
    """Makes ``folder`` ready for a run and marks it as ours; returns it.

    With ``overwrite`` its checkpoints and derived files are deleted, while its scene stays loadable until the new one is written.
    Files we do not know stay.

    Raises:
        DataFormatError: see :func:`require_place_for_scene`.
        ResourceError: the folder cannot be made or written.
    """
    folder = Path(folder)
    require_place_for_scene(folder, overwrite=overwrite, resume=resume)
    if overwrite and folder.is_dir():
        _delete_derived(folder)
    mark_scene_folder(folder)
    return folder


@contextmanager
def output_folder(folder: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """:func:`prepare_output`, undone where an error leaves nothing but our mark and diaries in a folder that was empty.

    So what was refused can be asked for again without ``--overwrite``.
    """
    existed = Path(folder).is_dir()
    was_empty = not existed or not any(Path(folder).iterdir())
    prepared = prepare_output(folder, overwrite=overwrite, resume=resume)
    try:
        yield prepared
    except ScenewiseError:
        if was_empty and _has_diaries_only(prepared):
            with disk_errors(prepared):
                if (prepared / WORKERS_FOLDER).is_dir():
                    shutil.rmtree(prepared / WORKERS_FOLDER)
                for name in (JOURNAL_FILE, MARKER_FILE):
                    (prepared / name).unlink(missing_ok=True)
                if not existed:
                    prepared.rmdir()
        raise


def _has_diaries_only(folder: Path) -> bool:
    """Whether there is nothing beside our mark, the journal, and what other processes of the run said."""
    said = all(path.is_dir() or path.name in (JOURNAL_FILE, ERRORS_FILE) for path in (folder / WORKERS_FOLDER).rglob("*"))
    return said and {entry.name for entry in folder.iterdir()} <= {MARKER_FILE, JOURNAL_FILE, WORKERS_FOLDER}


def _delete_derived(folder: Path) -> None:
    with disk_errors(folder):
        for name in _DERIVED:
            (folder / name).unlink(missing_ok=True)
        for name in _DERIVED_FOLDERS:
            if (folder / name).is_dir() and not (folder / name).is_symlink():
                shutil.rmtree(folder / name)
        for checkpoint in (folder / CHECKPOINTS_FOLDER).glob("step_*"):
            if checkpoint.is_dir() and not checkpoint.is_symlink():
                shutil.rmtree(checkpoint)
            else:
                checkpoint.unlink()

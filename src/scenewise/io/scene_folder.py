"""The scene folder: what a person gets, and what every later command reads.

``scene.json`` describes the world and how the scene was made, ``splats.ply`` holds the Gaussians, ``splats.spz`` the same
compactly.  Files are replaced one by one, in an order that leaves a folder which loads and claims nothing untrue, whenever the
process dies.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from scenewise.errors import ConventionError, DataFormatError, ScenewiseError, ShapeError
from scenewise.io.atomic import atomic_write_json, atomic_write_text, disk_errors, json_text, recover_folder
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.labels import read_labels, write_labels
from scenewise.io.ply.gaussians import gaussians_ply_size, read_gaussians_ply, write_gaussians_ply
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.spz import write_spz
from scenewise.scenes.cameras import NEAR, Cameras
from scenewise.scenes.gaussians import GaussianRows, Gaussians
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import EvaluationCard, Provenance, Scene, SceneCamera

SCENE_FILE = "scene.json"
SPLATS_FILE = "splats.ply"
COMPACT_FILE = "splats.spz"
POINTS_FILE = "points.ply"
CLASS_SPLATS_FILE = "splats_classes.ply"
MARKER_FILE = ".scenewise.json"
CHECKPOINTS_FOLDER = "checkpoints"
WORKERS_FOLDER = "workers"  # of processes that train together, all but the first
CAPTURE_FOLDER = "capture"  # of photographs that came without poses
JOURNAL_FILE = "log.jsonl"
ERRORS_FILE = "errors.txt"  # standard error of a process that another one started
REPORT_FILE = "report.html"
DISTILLATION_FILE = "distillation.json"
GRAPH_FILE = "graph.json"
GRAPH_DSG_FILE = "graph.dsg.json"  # for Spark-DSG
GRAPHML_FILE = "graph.graphml"
GRAPH_PICTURE_FILE = "graph.png"
DIFF_FILE, DIFF_PICTURE_FILE = "diff.json", "diff.png"  # of scenewise diff, in the later scene
GRAPH_FILES = (GRAPH_FILE, GRAPH_DSG_FILE, GRAPHML_FILE, GRAPH_PICTURE_FILE)
QUERY_FOLDER = "query"
ANSWER_FILE = "result.json"  # in a folder per question

_FORMAT = "scenewise-scene"
_VERSION = 1
_HERE = "./"
_NUMBER_LIST = re.compile(r"\[\n\s*(-?\d[^\[\]{}\"]*?)\n\s*\]")
# What a new run replaces at once.  scene.json and splats.ply stay until their successors are complete.


def mark_scene_folder(folder: Path) -> None:
    """Marks an existing or a new folder as ours."""
    atomic_write_json(folder / MARKER_FILE, {"format": _FORMAT, "version": _VERSION})


def is_scene_folder(folder: str | Path) -> bool:
    """Whether Scenewise wrote ``folder``: it holds our marker or a scene.json of our format."""
    for name in (MARKER_FILE, SCENE_FILE):
        try:
            if read_json_object(Path(folder) / name).text("format") == _FORMAT:
                return True
        except ScenewiseError:
            continue
    return False


def write_scene(folder: str | Path, scene: Scene, *, compact: bool = True, rows: GaussianRows | None = None) -> None:
    """Writes ``splats.ply``, ``splats.spz`` and ``scene.json``.

    Args:
        folder: made if need be; files of an older scene there are replaced (policy: :mod:`scenewise.io.scene_outputs`).
        scene: what to write.
        compact: whether to write ``splats.spz`` too; where it cannot hold the scene it is left out with a warning.
        rows: its Gaussians where they need not be in memory at once; None loads them.

    Raises:
        ConventionError: a value is NaN or infinite.
        ResourceError: the disk is full or the folder cannot be written; what was there still loads.
    """
    folder = Path(folder)
    gaussians: GaussianRows = scene.load_gaussians() if rows is None else rows
    if (len(gaussians), gaussians.sh_degree) != (scene.num_gaussians, scene.sh_degree):
        raise ShapeError(
            "scene.load_gaussians()",
            expected=f"{scene.num_gaussians} Gaussians of SH degree {scene.sh_degree}",
            got=f"{len(gaussians)} of degree {gaussians.sh_degree}",
        )
    text = _scene_text(folder, scene)  # raises before anything is touched
    _forget_measurements(folder)
    with disk_errors(folder):
        (folder / COMPACT_FILE).unlink(missing_ok=True)
    write_gaussians_ply(folder / SPLATS_FILE, gaussians)
    if compact:
        try:
            write_spz(folder / COMPACT_FILE, gaussians)
        except ConventionError as error:
            warnings.warn(f"{COMPACT_FILE} is left out: {error}", stacklevel=2)
    atomic_write_text(folder / SCENE_FILE, text)


def _forget_measurements(folder: Path) -> None:
    """Takes the evaluation out of an older scene.json: between here and the new one the splats already change."""
    if not (folder / SCENE_FILE).exists():
        return
    try:
        older = read_scene(folder)
    except ScenewiseError:  # nothing that loads, so nothing to keep true
        return
    if older.evaluation is not None:
        write_scene_description(folder, replace(older, evaluation=None))


def write_scene_description(folder: str | Path, scene: Scene) -> None:
    """Writes ``scene.json`` alone, for example after an evaluation; the Gaussians stay as they are."""
    atomic_write_text(Path(folder) / SCENE_FILE, _scene_text(Path(folder), scene))


def _scene_text(folder: Path, scene: Scene) -> str:
    within = replace(scene.provenance, capture=_place_from_folder(folder, scene.provenance.capture))
    text = json_text(SCENE_FILE, _scene_json(replace(scene, provenance=within)))
    return vectors_on_one_line(text)


def vectors_on_one_line(text: str) -> str:
    """JSON text with each list of numbers on one line, so that a person can read it.

    >>> print(vectors_on_one_line('{"up": [\\n  0.0,\\n  1.0\\n]}'))
    {"up": [0.0, 1.0]}
    """
    return _NUMBER_LIST.sub(lambda match: "[" + ", ".join(match[1].replace("\n", " ").replace(",", " ").split()) + "]", text)


def _place_from_folder(folder: Path, capture: str) -> str:
    """Where the capture is: from the scene folder if it lies in it, after ``./``, so that the two can be moved together."""
    whole = folder.resolve()
    return f"{_HERE}{Path(capture).relative_to(whole).as_posix()}" if capture and whole in Path(capture).parents else capture


def _scene_json(scene: Scene) -> dict[str, Any]:
    reference, card, origin = scene.georeference, scene.evaluation, scene.provenance
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "splats": {"file": SPLATS_FILE, "count": scene.num_gaussians, "sh_degree": scene.sh_degree}
        if scene.num_gaussians
        else None,
        "world": {
            "scale": scene.scale,
            "up_in_world": None if scene.up_in_world is None else scene.up_in_world.tolist(),
            "world_from_source": scene.world_from_source.tolist(),
            "background": None if scene.background is None else list(scene.background),
            "georeference": None if reference is None else georeference_json(reference),
        },
        "evaluation": None if card is None else _fields(card),
        "licences": dict(scene.licences),
        "provenance": _fields(origin),
        "cameras": [
            {
                "name": entry.name,
                "split": entry.split,
                "width": entry.camera.width,
                "height": entry.camera.height,
                "near": entry.camera.near,
                "K": entry.camera.K.tolist(),
                "camera_from_world": entry.camera.camera_from_world.tolist(),
            }
            for entry in scene.cameras
        ],
    }


def _fields(record: Provenance | EvaluationCard) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(record).items()}


def georeference_json(reference: Georeference) -> dict[str, Any]:
    """``projected = offset + scale · rotation · world`` in JSON, every digit kept."""
    return {
        "epsg": reference.epsg,
        "scale": reference.scale,
        "rotation": reference.rotation.tolist(),
        "offset": reference.offset.tolist(),
        "rms_error": reference.rms_error,
    }


def read_scene(folder: str | Path) -> Scene:
    """The scene in a folder.  Only scene.json and the header of splats.ply are read; the Gaussians wait for ``load_gaussians``.

    Raises:
        DataFormatError: no scene there, a key that is missing, unknown or of the wrong kind (the message names it), or damaged
            splats.
    """
    folder = Path(folder)
    recover_folder(folder)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise DataFormatError(folder, expected="a scene folder", got=got, fix="name a folder that scenewise reconstruct wrote")
    path = folder / SCENE_FILE
    if not path.exists():
        unfinished = (folder / CHECKPOINTS_FOLDER).is_dir()
        fix = "finish it with scenewise reconstruct --resume" if unfinished else "name a folder that scenewise reconstruct wrote"
        raise DataFormatError(folder, expected=f"a scene folder with {SCENE_FILE}", got="none", fix=fix)
    top = read_json_object(path)
    if top.text("format") != _FORMAT:
        raise top.wrong("format", repr(_FORMAT), "another")
    if top.integer("version") > _VERSION:
        raise top.wrong("version", f"at most {_VERSION}", "a later one", "use a newer Scenewise")
    splats = top.object("splats", None)
    if splats is not None:
        splats.choice("file", [SPLATS_FILE])
        splats.integer("count")
        splats.integer("sh_degree", maximum=3)
        splats.finish()
    world = top.object("world")
    background = world.array("background", (3,), None)
    reference = world.object("georeference", None)
    card = top.object("evaluation", None)
    licences = top.mapping("licences")
    if not all(isinstance(value, str | None) for value in licences.values()):
        raise top.wrong("licences", "texts or null", "others")
    # The file counts, should scene.json be one write behind; a labelled cloud has no splats at all.
    count, sh_degree = (0, 0) if splats is None else gaussians_ply_size(folder / SPLATS_FILE)
    fields: dict[str, Any] = {
        "load_gaussians": no_gaussians if splats is None else lambda: read_gaussians_ply(folder / SPLATS_FILE),
        "num_gaussians": count,
        "sh_degree": sh_degree,
        "cameras": tuple(_read_camera(entry) for entry in top.objects("cameras")),
        "provenance": _read_provenance(folder, top.object("provenance")),
        "scale": world.choice("scale", ["metric", "arbitrary"]),
        "up_in_world": world.array("up_in_world", (3,), None),
        "world_from_source": world.array("world_from_source", (4, 4)),
        "georeference": None if reference is None else read_georeference(reference),
        "background": None if background is None else tuple(background.tolist()),
        "evaluation": None if card is None else _read_card(card),
        "licences": licences,
    }
    world.finish()
    top.finish()
    try:
        return Scene(**fields)
    except (ConventionError, ShapeError) as error:
        raise DataFormatError(path, got=str(error)) from error


def no_gaussians() -> Gaussians:
    """The Gaussians of a scene that has points only."""
    empty = {name: torch.zeros(0, width) for name, width in (("means", 3), ("log_scales", 3), ("quats", 4))}
    return Gaussians(**empty, logit_opacities=torch.zeros(0), sh0=torch.zeros(0, 1, 3), shN=torch.zeros(0, 0, 3))


def _read_camera(entry: JsonFields) -> SceneCamera:
    name, split = entry.text("name"), entry.choice("split", ["train", "test"])
    width, height = (entry.integer(key, minimum=1, maximum=1 << 20) for key in ("width", "height"))
    near = entry.number("near", NEAR)
    K, pose = torch.from_numpy(entry.array("K", (3, 3))), torch.from_numpy(entry.array("camera_from_world", (4, 4)))
    entry.finish()
    try:
        return SceneCamera(name, Cameras(camera_from_world=pose, K=K, width=width, height=height, near=near), split)
    except (ConventionError, ShapeError) as error:
        raise DataFormatError(entry.path, f"{entry.place} ({name})", got=str(error)) from error


def read_georeference(entry: JsonFields) -> Georeference:
    """The inverse of :func:`georeference_json`; DataFormatError where the rotation or the scale cannot be one."""
    reference = Georeference(
        epsg=entry.integer("epsg", minimum=1024, maximum=999_999),
        scale=entry.number("scale"),
        rotation=entry.array("rotation", (3, 3)),
        offset=entry.array("offset", (3,)),
        rms_error=entry.number("rms_error", None),
    )
    if not reference.scale > 0:
        raise entry.wrong("scale", "a number above 0", reference.scale)
    deviation = float(np.abs(reference.rotation @ reference.rotation.T - np.eye(3)).max())
    if deviation > 1e-6 or np.linalg.det(reference.rotation) < 0:
        raise entry.wrong(
            "rotation", "a proper rotation", f"R·Rᵀ off by {deviation:.3g}" if deviation > 1e-6 else "a mirrored one"
        )
    entry.finish()
    return reference


def _read_provenance(folder: Path, entry: JsonFields) -> Provenance:
    versions = entry.mapping("versions")
    if not all(isinstance(value, str) for value in versions.values()):
        raise entry.wrong("versions", "texts", "others")
    provenance = Provenance(
        capture=_place_in_folder(folder, entry.text("capture")),
        source_format=entry.text("source_format"),
        preset=entry.text("preset", None),
        data_hash=entry.text("data_hash"),
        method=entry.text("method"),
        config=entry.mapping("config"),
        versions=versions,
        git_commit=entry.text("git_commit", None),
        created=entry.text("created", None),
    )
    entry.finish()
    return provenance


def _place_in_folder(folder: Path, capture: str) -> str:
    """The inverse of :func:`_place_from_folder`."""
    return str(folder.resolve() / capture.removeprefix(_HERE)) if capture.startswith(_HERE) else capture


def _read_card(entry: JsonFields) -> EvaluationCard:
    card = EvaluationCard(
        split=entry.choice("split", ["train", "test"]),
        num_views=entry.integer("num_views"),
        psnr=entry.number("psnr", None),
        ssim=entry.number("ssim", None),
        lpips=entry.number("lpips", None),
        num_gaussians=entry.integer("num_gaussians"),
        seconds=entry.number("seconds", None),
        peak_memory_bytes=entry.integer("peak_memory_bytes", None),
        miou=entry.number("miou", None),
        more=entry.mapping("more"),
    )
    entry.finish()
    return card


def labels_path(folder: str | Path, of: Literal["splats", "points"]) -> Path:
    """Where a scene folder keeps the labels of its splats or points."""
    return Path(folder) / f"labels_{of}.safetensors"


def _rows(folder: str | Path, of: Literal["splats", "points"]) -> int:
    table = Path(folder) / (SPLATS_FILE if of == "splats" else POINTS_FILE)
    return gaussians_ply_size(table)[0] if of == "splats" else read_ply_table(table).count


def write_scene_labels(folder: str | Path, of: Literal["splats", "points"], labels: ElementLabels) -> None:
    """Labels of the scene's splats or points; ShapeError unless there is one row per row of the PLY file."""
    write_labels(labels_path(folder, of), labels, count=_rows(folder, of))


def read_scene_labels(folder: str | Path, of: Literal["splats", "points"]) -> ElementLabels | None:
    """Labels of the scene's splats or points, or None where there are none; errors as in :func:`read_labels`."""
    path = labels_path(folder, of)
    return read_labels(path, count=_rows(folder, of)) if path.exists() else None

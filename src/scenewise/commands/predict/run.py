"""``scenewise predict``: names for points from a trained network.  Needs no images."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewise.commands.predict.options import PredictOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.memory import peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.provenance import git_commit, versions
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.named_points import read_named_points, write_named_points
from scenewise.io.scene_folder import (
    POINTS_FILE,
    SCENE_FILE,
    no_gaussians,
    read_scene,
    write_scene_description,
    write_scene_labels,
)
from scenewise.io.scene_outputs import output_folder, prepare_output
from scenewise.io.vocabularies import VOCABULARY_FILE, write_vocabulary
from scenewise.parts.labelfree.trained_run import TrainedRun, load_run
from scenewise.parts.sources.clouds import CloudScan
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import Provenance, Scene
from scenewise.show.label_pictures import class_palette

METHOD = "predict"


@dataclass(frozen=True)
class PredictSummary:
    """What was named.

    Attributes:
        folder: scene folder that was written.
        run: the network's folder.
        target: what was named.
        points: how many.
        classes: share of the points that got each class.
        coverage: share of the points with a class; always 1.
        mean_confidence: mean softmax of the classes given.
        seconds: of naming, without reading and writing.
        peak_memory_bytes: of this process.
    """

    folder: Path
    run: Path
    target: Path
    points: int
    classes: Mapping[str, float]
    coverage: float
    mean_confidence: float
    seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        largest = sorted(self.classes.items(), key=lambda entry: -entry[1])[:8]
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in largest if share > 0)
        return (
            f"{self.points:,} points named in {duration_text(self.seconds)}, "
            f"peak memory {text_from_bytes(self.peak_memory_bytes)}\n"
            f"{shares}\nwritten to {self.folder}; look at it: scenewise view {self.folder}"
        )


def predict(options: PredictOptions, progress: Progress | None = None) -> PredictSummary:
    """Names the points of a target and writes a scene folder.

    Raises:
        DataFormatError: no run, nothing to name, or an output folder in use.
        ConventionError: the points lack what the network was trained on, or several scans were given.
        ResourceError: memory or disk do not suffice.
    """
    progress = NullProgress() if progress is None else progress
    with compute_threads(options.threads):
        run = load_run(options.run, compute_device(options.device))
        raw = _target(options.target)
        with output_folder(options.out, resume=options.overwrite) as folder:
            began = time.monotonic()
            labels = run.name(raw, repeats=options.repeats, seed=options.seed, max_voxels=options.max_voxels, progress=progress)
            seconds = time.monotonic() - began
            with progress.stage("write"):
                prepare_output(folder, overwrite=True)  # now that there is something to replace it with
                _write(folder, options, run, raw, labels)
    shares = np.bincount(labels.class_ids, minlength=len(run.vocabulary)) / max(1, len(labels.class_ids))
    return PredictSummary(
        folder=folder,
        run=options.run,
        target=options.target,
        points=len(labels.class_ids),
        classes=dict(zip(run.vocabulary.names, shares.tolist())),
        coverage=labels.coverage,
        mean_confidence=float(labels.confidence.mean()) if len(labels.confidence) else 0.0,
        seconds=seconds,
        peak_memory_bytes=peak_resident_bytes(),
    )


def _target(path: Path) -> RawScan:
    """Points to name; pictures are not opened."""
    if (path / SCENE_FILE).is_file():
        points = path / POINTS_FILE
        if not points.is_file():
            raise DataFormatError(
                path, expected=POINTS_FILE, got="a scene without points", fix="scenewise export SCENE --format points"
            )
        return RawScan(path.resolve().name, read_named_points(points), f"points of {POINTS_FILE}")
    sources = open_scans(path)
    if len(sources) != 1:
        raise ConventionError("target", expected="one scan", got=f"{len(sources)} of {path}", fix="name the folder of one scan")
    source = sources[0]
    if isinstance(source, CloudScan) and path.suffix.lower() == ".ply":  # its triangles are not asked for
        return RawScan(source.name, read_named_points(path), path.name)
    return source.open()


def _write(folder: Path, options: PredictOptions, run: TrainedRun, raw: RawScan, labels: LabelField) -> None:
    named = ElementLabels(labels.class_ids, np.full(len(labels.class_ids), -1, dtype=np.int32), labels.confidence)
    painted = class_palette(run.vocabulary.colors_u8)[labels.class_ids]
    write_vocabulary(folder / VOCABULARY_FILE, run.vocabulary, teacher=run.config.teacher)
    write_named_points(folder / POINTS_FILE, raw.cloud, named, painted)
    write_scene_description(folder, _described(options, run, raw))
    write_scene_labels(folder, "points", named)


def _described(options: PredictOptions, run: TrainedRun, raw: RawScan) -> Scene:
    record = {
        "run": str(options.run.resolve()),
        "method": run.config.method,
        "step": run.step,
        "trained_on": run.data_hash,
        "teacher": run.config.teacher,
        "voxel": run.config.network.voxel,
        "repeats": options.repeats,
        "points": raw.cloud_source,
    }
    provenance = Provenance(
        capture=str(options.target.resolve()),
        source_format="points",
        preset=None,
        data_hash="",
        method=METHOD,
        config={"prediction": record},
        versions=versions(),
        git_commit=git_commit(),
    )
    licences = {f"trained on {name}": licence for name, licence in run.config.licences.items()}
    if (options.target / SCENE_FILE).is_file():
        origin = read_scene(options.target)
        return Scene(
            load_gaussians=no_gaussians,
            num_gaussians=0,
            sh_degree=0,
            cameras=origin.cameras,
            provenance=provenance,
            scale=origin.scale,
            up_in_world=origin.up_in_world,
            world_from_source=origin.world_from_source,
            georeference=origin.georeference,
            background=origin.background,
            licences={**origin.licences, **licences},
        )
    capture = raw.capture
    return Scene(
        load_gaussians=no_gaussians,
        num_gaussians=0,
        sh_degree=0,
        cameras=(),
        provenance=provenance,
        scale="metric" if capture is None else capture.scale,
        up_in_world=None if capture is None else capture.up_in_world,
        world_from_source=np.eye(4) if capture is None else capture.world_from_source,
        georeference=None if capture is None else capture.georeference,
        licences=licences if capture is None or capture.licence is None else {raw.name: capture.licence, **licences},
    )

"""From photographs or a film to a capture folder with poses: a list of things that are made once."""

import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from scenewise.engine.data_hash import head_digest
from scenewise.engine.jobs import Job, run_jobs
from scenewise.engine.journal import Journal
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.provenance import versions
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_folder, atomic_write_bytes, atomic_write_json, atomic_write_text, disk_errors, link_or_copy
from scenewise.io.films import film_frames, is_film
from scenewise.io.georeference import GPS_CSV_NAME, gps_csv_text
from scenewise.io.images import encoded_picture
from scenewise.io.json_fields import read_json_object
from scenewise.io.json_values import fingerprint_of, json_ready
from scenewise.io.product_kinds import POSES
from scenewise.io.products import made
from scenewise.kernels.native import library
from scenewise.parts.poses.child import FOUND_FILE, MODEL_FOLDER, STEPS_FILE, Task, steps_in, write_task
from scenewise.parts.poses.feature_files import PictureFeatures
from scenewise.parts.poses.features import KeptFeatures, content_of, find_features
from scenewise.parts.poses.film_frames import choose_frames, measure_film
from scenewise.parts.poses.likeness import picture_signatures
from scenewise.parts.poses.mapping import MappedCamera, import_pycolmap
from scenewise.parts.poses.pairs import ChosenPairs, choose_pairs
from scenewise.parts.poses.photographs import FEWEST_PHOTOGRAPHS, Photograph, Photographs, read_photographs
from scenewise.parts.poses.records import LeftOut, PosesFound, errors_from_json, found_from_json, lens_from_json, named
from scenewise.parts.poses.settings import PoseSettings

WORK_FOLDER, IMAGES_FOLDER, MASKS_FOLDER, FRAMES_FOLDER = "work", "images", "masks", "frames"
_CLAIM_FILE = "claim.json"
_MODEL_FILES = ("cameras.bin", "images.bin", "points3D.bin")
_FRAME_QUALITY = 95
# Measured on two cores of 2.5 GHz, in seconds of one thread.
_SECONDS_PER_PAIR, _SECONDS_MAPPED = 0.035, 0.35
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class PosesRequest:
    """What is asked for.

    Attributes:
        source: folder of photographs, or a film.
        out: capture folder to write.
        settings: limits.
        frames: of a film, how many; None lets its motion decide.
        threads: workers; None for all cores this process may use.
        seconds: matching and mapping may take, or None.
        resume: go on with what an interrupted run left.
        overwrite: replace what an earlier run made.
        command: of the process that matches and maps, to which its folder is added.
    """

    source: Path
    out: Path
    settings: PoseSettings = field(default_factory=PoseSettings)
    frames: int | None = None
    threads: int | None = None
    seconds: float | None = None
    resume: bool = False
    overwrite: bool = False
    command: tuple[str, ...] = (sys.executable, "-m", "scenewise.parts.poses.child")


def find_poses(request: PosesRequest, *, strict: bool = False, progress: Progress | None = None) -> PosesFound:
    """Finds poses and writes ``images/``, ``sparse/0/`` and ``poses.json``; reads them where they were found before.

    Args:
        request: what is asked for.
        strict: refuse a result that leaves a picture out.
        progress: told what is done and how long it will take.

    Raises:
        DataFormatError: nothing that can be read, too few pictures, an output folder in use.
        ConventionError: no picture can be registered; with ``strict``, when one is left out.
        MissingDependencyError: pycolmap or OpenCV is not installed.
        ResourceError: the time is over, or memory or disk do not suffice.
        JobFailedError: the process that maps ended unexpectedly.
    """
    progress = NullProgress() if progress is None else progress
    import_pycolmap()
    _prepare(request)
    finder = _Finder(request, progress)
    kept = made(request.out, POSES, finder.fingerprint, finder.make, _read)
    found = kept.value
    if not kept.is_new:
        progress.message(f"{request.out}: poses of these pictures are there")
    for warning in found.warnings:
        warnings.warn(f"{request.source}: {warning}", CaptureWarning, stacklevel=2)
    if strict and found.left_out:
        raise ConventionError(
            str(request.source),
            expected="a pose for every picture",
            got=f"{found.registered} of {found.pictures}; left out: {named(found.left_out)}",
            fix="leave --strict out, or add pictures between these and the others",
        )
    return found


def _read(folder: Path) -> PosesFound:
    return found_from_json(folder, read_json_object(folder / POSES.mark))


def is_poses_folder(folder: Path) -> bool:
    """Whether poses were found into this folder, or a run that was to find them has not come to its end."""
    return (folder / POSES.mark).is_file() or (folder / WORK_FOLDER / _CLAIM_FILE).is_file()


def _prepare(request: PosesRequest) -> None:
    """Makes sure that the folder may be written to, and empties it where it is to be replaced."""
    out = request.out
    if out.exists() and not out.is_dir():
        raise DataFormatError(out, expected="a folder", got="a file", fix="choose another name")
    if out.is_dir() and any(out.iterdir()):
        if not is_poses_folder(out):
            raise DataFormatError(
                out, expected="a new, an empty or a poses folder", got="a folder with other files", fix="choose another folder"
            )
        if request.overwrite:
            with disk_errors(out):
                (out / POSES.mark).unlink(missing_ok=True)
                for name in (WORK_FOLDER, IMAGES_FOLDER, MASKS_FOLDER, "sparse"):
                    shutil.rmtree(out / name, ignore_errors=True)
                for name in (GPS_CSV_NAME, "log.jsonl"):
                    (out / name).unlink(missing_ok=True)
        elif not request.resume:
            raise DataFormatError(
                out, expected="a new folder", got="poses of an earlier run", fix="--resume goes on, --overwrite starts anew"
            )


@final
class _Finder:
    """One search; :meth:`make` reads top to bottom."""

    def __init__(self, request: PosesRequest, progress: Progress) -> None:
        self.request, self.settings, self.progress = request, request.settings, progress
        self.threads = library.default_threads() if request.threads is None else request.threads
        self.is_film = is_film(request.source)
        self.photographs = None if self.is_film else read_photographs(request.source)
        self.fingerprint = self._fingerprint()

    def make(self, folder: Path) -> Mapping[str, Any]:
        """Pictures → features → pairs → models → capture; what is done is found again."""
        work, began = folder / WORK_FOLDER, time.monotonic()
        self._claim(work)
        with Journal(folder / "log.jsonl") as journal:
            journal.write("start", command="poses", options=asdict(self.request), versions=versions())
            photographs = self.photographs or self._frames_of_film(work)
            pictures = photographs.pictures
            features, undecodable = find_features(
                pictures, work / "features", self.settings, threads=self.threads, progress=self.progress
            )
            left_out = (*photographs.left_out, *undecodable)
            usable = [None if one is None else one.features for one in features]
            _require_enough(self.request.source, usable, left_out)
            journal.write("stage", name="features", seconds=round(time.monotonic() - began, 3))
            pairs = self._pairs(pictures, usable)
            self._map(work, pictures, features, pairs)
            found = read_json_object(work / FOUND_FILE)
            for stage, seconds in found.mapping("stages").items():
                journal.write("stage", name=stage, seconds=seconds)
            registered = frozenset(found.texts("registered"))
            _write_capture(folder, work, photographs, registered)
            journal.write("end", seconds=time.monotonic() - began, peak_memory_bytes=peak_resident_bytes())
        lost = [one.name for one in pictures if one.name not in registered | {one.name for one in undecodable}]
        record = PosesFound(
            capture=folder,
            pictures=len(pictures) + len(photographs.left_out),
            registered=len(registered),
            left_out=(*left_out, *(LeftOut(name, "too little in common with the others") for name in lost)),
            models=tuple(found.integers("models")),
            points=found.integer("points"),
            reprojection=errors_from_json(found.object("reprojection")),
            held_out=errors_from_json(found.object("held_out")),
            lenses=tuple(map(lens_from_json, found.objects("lenses"))),
            pairs=len(pairs.pairs),
            pairs_chosen=pairs.how,
            working_side=self.settings.max_side,
            seconds=time.monotonic() - began,
        )
        return {name: value for name, value in json_ready(record).items() if name != "capture"}

    def _fingerprint(self) -> str:
        if self.photographs is None:
            pictures: list[Any] = [head_digest(self.request.source), self.request.frames]
        else:
            pictures = [[one.name, *content_of(one), one.position] for one in self.photographs.pictures]
        return fingerprint_of({"pictures": pictures, "settings": self.settings})

    def _claim(self, work: Path) -> None:
        """What another task left in the folder goes, features apart, which know what they are of."""
        claim = {"fingerprint": self.fingerprint}
        try:
            is_ours = read_json_object(work / _CLAIM_FILE).text("fingerprint") == self.fingerprint
        except ScenewiseError:
            is_ours = False
        if not is_ours and work.is_dir():
            for entry in work.iterdir():
                if entry.name == "features":
                    continue
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        atomic_write_json(work / _CLAIM_FILE, claim)

    def _frames_of_film(self, work: Path) -> Photographs:
        """The chosen frames of the film as pictures."""
        folder, done = work / FRAMES_FOLDER, work / "frames.json"
        if not done.is_file():
            chosen = choose_frames(measure_film(self.request.source, self.progress), self.request.frames)
            shutil.rmtree(folder, ignore_errors=True)
            with self.progress.stage("writing frames", len(chosen)) as stage:
                for number, image in film_frames(self.request.source, frozenset(chosen.tolist())):
                    picture = encoded_picture(image, "JPEG", quality=_FRAME_QUALITY, subsampling=0)
                    atomic_write_bytes(folder / f"frame-{number:06d}.jpg", picture)
                    stage.advance()
            atomic_write_json(done, {"frames": chosen.tolist()})
        return read_photographs(folder)

    def _pairs(self, pictures: Sequence[Photograph], features: Sequence[PictureFeatures | None]) -> ChosenPairs:
        settings = self.settings
        pairs = choose_pairs(
            pictures,
            settings,
            is_film=self.is_film,
            signatures=lambda: picture_signatures(features, words=settings.words, seed=settings.seed),
        )
        expected = expected_seconds(len(pictures), len(pairs.pairs), self.threads)
        self.progress.message(
            f"{len(pictures)} pictures, {len(pairs.pairs):,} pairs, {pairs.how}: about {duration_text(expected)} to go"
        )
        return pairs

    def _map(
        self, work: Path, pictures: Sequence[Photograph], features: Sequence[KeptFeatures | None], pairs: ChosenPairs
    ) -> None:
        """Has a process match and map, unless it has."""
        if (work / FOUND_FILE).is_file():
            return
        groups = {_camera_key(one): one for one in reversed(pictures)}
        order = {key: index for index, key in enumerate(dict.fromkeys(map(_camera_key, pictures)))}
        sides = [max(one.width, one.height) for one in pictures]
        task = Task(
            cameras=tuple(MappedCamera(groups[key].width, groups[key].height, groups[key].focal_px) for key in order),
            names=tuple(one.name for one in pictures),
            camera_of=tuple(order[_camera_key(one)] for one in pictures),
            features=tuple(None if one is None else str(one.path.resolve()) for one in features),
            settings=self.settings,
            pixel_scale=max(1.0, float(np.median(sides)) / self.settings.max_side),
            threads=self.threads,
        )
        write_task(work, task, pairs.pairs)
        (work / STEPS_FILE).unlink(missing_ok=True)
        job = Job(
            name="matching and mapping",
            command=(*self.request.command, str(work.resolve())),
            journal=work / STEPS_FILE,
            errors=work / "errors.txt",
            units=steps_in(len(pairs.pairs), len(pictures)),
            environment=_ONE_THREAD,
            seconds=self.request.seconds,
        )
        run_jobs([job], progress=self.progress)


def expected_seconds(pictures: int, pairs: int, threads: int = 2) -> float:
    """About how long matching and mapping take; measured on processors of 2.5 GHz."""
    return _SECONDS_PER_PAIR * pairs / max(1, threads) + _SECONDS_MAPPED * pictures


def _camera_key(picture: Photograph) -> tuple[object, ...]:
    """Pictures of one size and one camera at one focal length share their lens."""
    return picture.width, picture.height, picture.camera, picture.focal_px


def _require_enough(source: Path, features: Sequence[PictureFeatures | None], left_out: Sequence[LeftOut]) -> None:
    usable = sum(one is not None for one in features)
    if usable < FEWEST_PHOTOGRAPHS:
        raise DataFormatError(
            source,
            expected=f"at least {FEWEST_PHOTOGRAPHS} pictures that can be decoded",
            got=f"{usable}; {named(tuple(left_out))}",
            fix="copy the pictures again",
        )


def _write_capture(folder: Path, work: Path, photographs: Photographs, registered: frozenset[str]) -> None:
    """Pictures, masks, positions and, last, the model, whose folder makes it a capture."""
    pictures = [one for one in photographs.pictures if one.name in registered]
    with atomic_folder(folder / IMAGES_FOLDER) as beside:
        for picture in pictures:
            link_or_copy(picture.path, beside / picture.name)
    masked = [(picture, picture.mask) for picture in pictures if picture.mask is not None]
    if masked:
        with atomic_folder(folder / MASKS_FOLDER) as beside:
            for picture, mask in masked:
                is_png = mask.suffix.lower() == ".png"
                link_or_copy(mask, beside / (f"{picture.name}.png" if is_png else picture.name))
    if photographs.gps_csv is not None:
        atomic_write_bytes(folder / GPS_CSV_NAME, photographs.gps_csv.read_bytes())
    elif any(picture.position is not None for picture in pictures):
        positions = {picture.name: picture.position for picture in pictures if picture.position is not None}
        atomic_write_text(folder / GPS_CSV_NAME, gps_csv_text(positions))
    with atomic_folder(folder / "sparse") as beside:
        (beside / "0").mkdir()
        for name in _MODEL_FILES:
            shutil.copyfile(work / MODEL_FOLDER / name, beside / "0" / name)

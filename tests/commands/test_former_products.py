"""Folders that older versions made open: what lies in them is found, not made again.

``tests/golden/products/former.tar.xz`` was made by commit 16ca67b, before products had a module of their own::

    room, rooms             8 views of 40×30 pixels of a procedural room; two rooms in ScanNet's layout, 3 views each
    distilled               reconstruct room --method distilled_3dgs, as in OPTIONS; no report, no splats.spz
    distilled_interrupted   the same, stopped in its second teacher at step 20 of 40
    segmented               reconstruct room, segment --frames 2 --classes CLASSES; answers coarsened, labels dropped
    scans, answers          both rooms, and an image, as ``Channels`` below sees them
    outcomes                of ARM, two seeds

They cannot be made again by the code of today, and need not be: another kind of product is added with files of its own.
"""

import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.commands.segment.summary import SegmentSummary
from scenewise.errors import ConventionError
from scenewise.io.json_fields import read_json_object
from scenewise.io.product_kinds import LABELS
from scenewise.io.products import products_in, verify
from scenewise.methods.distilled_3dgs import distillation
from scenewise.methods.distilled_3dgs.ensemble import Ensemble
from scenewise.methods.distilled_3dgs.options import DistillationOptions
from scenewise.methods.distilled_3dgs.students import Student
from scenewise.parts.scans.data_sets import instruments_of, prepare_data
from scenewise.parts.scans.settings import PreparationSettings
from scenewise.parts.sources.opening import open_scans
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.studies.arms import Arm, Outcome, run_arm
from scenewise.teachers.cached import CachedTeacher

ARCHIVE = Path(__file__).parents[1] / "golden" / "products" / "former.tar.xz"
COLORS = Vocabulary(("red", "green", "blue"), (("red",), ("green",), ("blue",)), ("{}",), ((255, 0, 0),) * 3)
CLASSES = "wall, floor, ceiling, bed, table, cabinet"
ARM = {"steps": 1, "weights": (0.5, 1e-7), "name": "ä", "deep": {"b": None, "a": True}}
OPTIONS = ReconstructOptions(
    capture=Path("room"),
    out=Path("distilled"),
    method="distilled_3dgs",
    steps=40,
    threads=1,
    sh_degree=0,
    device="cpu",
    checkpoint_every=10,
    resume=True,
    distillation=DistillationOptions(teacher_gaussians=900, keep_ratio=0.5, curve=(0.3,)),
)


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything in the archive, in the current folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Channels:
    """Says the colour of the first pixel."""

    name, fingerprint, logit_scale, licence = "channels", "channels of one pixel/1", 10.0, None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField:
        self.asked.append(frame_name)
        values = np.full((2, 2, 3), 0.5, dtype=np.float32)
        values[0, 0] = image[0, 0] / np.float32(255)
        return DenseField(values, *image.shape[:2], "features")

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[[COLORS.names.index(phrase) for phrase in phrases]]

    def default_templates(self) -> tuple[str, ...]:
        return ("{}",)

    def vocabulary(self) -> Vocabulary | None:
        return None


def _refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was there")


def _contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob(pattern)) if path.is_file()}


def test_every_kind_is_listed_and_whole(former: Path) -> None:
    found = products_in(former)
    kinds = [product.kind.name for product in found]
    assert {name: kinds.count(name) for name in sorted(set(kinds))} == {
        "answer": 3,
        "labels": 1,
        "outcome": 2,
        "pictures": 1,
        "scan": 2,
        "student": 1,
        "teacher": 4,
    }
    for product in found:
        verify(product)


def test_teachers_pictures_students_and_curve_are_found(former: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("*.ply", "*.png", "teacher.json", "student.json")
    before = [_contents(former / "distilled", pattern) for pattern in kept]
    for owner, name in ((Ensemble, "train"), (Student, "_train"), (distillation, "mean_picture")):
        monkeypatch.setattr(owner, name, _refuse)
    made = reconstruct(OPTIONS)
    assert made.steps == 40 and made.distillation is not None
    assert [_contents(former / "distilled", pattern) for pattern in kept] == before
    assert [len(contents) for contents in before] == [6, 7, 3, 1]
    rows = {row.name: row.num_gaussians for row in [*made.distillation.table, *made.distillation.curve]}
    old = json.loads((former / "distilled" / "students" / "30" / "student.json").read_text())
    assert rows["student, 30 %"] == old["num_gaussians"]


def test_a_run_that_was_stopped_in_a_teacher_goes_on_there(former: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    train = Ensemble.train

    def noted(self: Any, spec: Any, points: Any, folder: Path) -> dict[str, Any]:
        trained.append(spec.name)
        return train(self, spec, points, folder)

    monkeypatch.setattr(Ensemble, "train", noted)
    for name in ("vanilla", "noise"):
        alone = replace(OPTIONS.distillation, only_teacher=name)
        reconstruct(replace(OPTIONS, out=Path("distilled_interrupted"), distillation=alone))
    assert trained == ["noise"]
    folder = former / "distilled_interrupted" / "teachers" / "noise"
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "resume"] == [20]
    assert not (folder / "checkpoints").exists()


def test_prepared_scans_and_answers_are_found(former: Path) -> None:
    teacher, before = Channels(), _contents(former / "scans", "*")
    settings = PreparationSettings(picture_width=40)
    instruments = instruments_of(teacher, COLORS, settings)
    found = prepare_data(open_scans(former / "rooms", "train"), instruments, settings, former / "scans")
    assert len(found) == 2 and teacher.asked == [] and _contents(former / "scans", "*") == before
    cached = CachedTeacher(teacher, former / "answers", 1 << 20)
    said = cached.dense(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "deep/a 1.jpg")
    assert cached.found == 1 and teacher.asked == []
    assert said is not None and said.values[0, 0].tolist() == pytest.approx([0.0, 1 / 255, 2 / 255], rel=1e-3)


def test_labels_go_on_with_the_same_settings_and_the_teachers_answers(former: Path) -> None:
    path = former / "segmented" / LABELS.mark
    settings = read_json_object(path).mapping("settings")
    settings["target"] = [str(former / "segmented")]  # it was made elsewhere
    path.write_text(json.dumps({"settings": settings}))
    options = SegmentOptions(target=(Path("segmented"),), capture=Path("room"), classes=CLASSES, frames=2, threads=1, resume=True)
    made = segment(options)
    assert isinstance(made, SegmentSummary) and made.answers_from_cache == 2
    with pytest.raises(ConventionError, match=r"--resume.*others: classes.*--overwrite starts anew"):
        segment(replace(options, classes="wall, floor"))


def test_outcomes_are_found(former: Path) -> None:
    for seed in (0, 1):
        [kept] = run_arm(Arm("an arm", ARM, _refuse), [seed], former / "outcomes")
        assert kept == Outcome({"psnr": 20.5 + seed, "lpips": None}, 10, 5, 1.5, 100)

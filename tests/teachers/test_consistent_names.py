"""``condense`` and ``condense:RUN`` as teachers: what they offer, and what is said where they cannot be opened."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.pair_run import write_pair_run

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.teachers import consistent
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import SMALL_CLIP, open_choice, open_teacher, read_out_text, with_absolute_folders
from scenewise.teachers.clip_teacher import ClipTeacherSettings
from scenewise.teachers.consistent import ConsistentFeatures
from scenewise.teachers.consistent_file import FILE
from scenewise.teachers.protocol import PictureTeacher, PointTeacher, Teacher


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_run(tmp_path_factory.mktemp("pair") / "run")


@pytest.fixture(scope="module")
def teacher(run: Path) -> ConsistentFeatures:
    opened = open_teacher(f"condense:{run}", device="cpu")
    assert isinstance(opened, ConsistentFeatures)
    return opened


def test_a_run_is_opened_by_its_folder_or_its_file(run: Path, teacher: ConsistentFeatures) -> None:
    assert teacher.name == f"condense:{run}" and teacher.licence == "CC0-1.0" and read_out_text(teacher) is None
    by_file = open_choice(TeacherChoice(f" condense:{run / FILE}", device="cpu", method_read_out="maskclip"))
    assert by_file.fingerprint == teacher.fingerprint
    words = open_teacher(SMALL_CLIP, device="cpu").embed_text(["chair"], ("a {}",))
    np.testing.assert_array_equal(teacher.embed_text(["chair"], ("a {}",)), words)


def test_it_speaks_of_pictures_and_of_points_and_a_clip_of_pictures_alone(teacher: ConsistentFeatures) -> None:
    assert isinstance(teacher, Teacher) and isinstance(teacher, PointTeacher) and isinstance(teacher, PictureTeacher)
    clip = open_teacher(SMALL_CLIP, device="cpu")
    assert isinstance(clip, PictureTeacher) and not isinstance(clip, PointTeacher)


def test_points_get_the_translated_feature_of_their_voxel(teacher: ConsistentFeatures) -> None:
    draw = np.random.default_rng(3)
    points, colors = draw.uniform(-1, 2, (50, 3)), draw.integers(0, 256, (50, 3), dtype=np.uint8)
    points[7] = points[41] + 1e-9  # one voxel
    said = teacher.of_points(points, colors)
    weight, bias = (values.numpy() for values in (teacher.pair.translator.weight, teacher.pair.translator.bias))
    expected = []
    for voxel in said.voxel_of_point:
        told = weight @ said.features[voxel] + bias
        expected.append(told / np.linalg.norm(told))
    found = teacher.features_of_points(points, colors)
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)
    np.testing.assert_array_equal(found[7], found[41])
    assert len(np.unique(found, axis=0)) == len(said) > 20
    with pytest.raises(ConventionError, match=r"points: expected at least one"):
        teacher.features_of_points(points[:0], colors[:0])


def test_the_run_is_remembered_by_its_whole_path(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert with_absolute_folders(TeacherChoice("condense:run")).teacher == f"condense:{run}"
    assert with_absolute_folders(TeacherChoice("files:answers")).teacher == f"files:{run.parent / 'answers'}"
    for name in ("condense", "condense:", SMALL_CLIP, "files:"):
        assert with_absolute_folders(TeacherChoice(name)).teacher == name


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"read_out": "maskclip"}, "whose branches give finished features, got 'maskclip'"),
        ({"key_smoothing": True}, "got key smoothing"),
        ({"settings": ClipTeacherSettings()}, "got ClipTeacherSettings"),
        ({"text_from": SMALL_CLIP}, "only with files:DIR"),
    ],
)
def test_it_is_read_in_one_way_only(run: Path, how, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        open_teacher(f"condense:{run}", **how)


def test_what_cannot_be_opened_is_said(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataFormatError, match=r"nowhere: expected a run of scenewise pretrain, with consistent.safetensors, got none"
    ):
        open_teacher(f"condense:{tmp_path / 'nowhere'}")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_bytes((run / FILE).read_bytes()[:-100])
    with pytest.raises(DataFormatError, match=r"the file is damaged"):
        open_teacher(f"condense:{tmp_path / 'damaged'}")
    with pytest.raises(ConventionError, match=r'expected "condense" or "condense:RUN"'):
        open_teacher("condense:  ")
    other = write_pair_run(tmp_path / "other", tower_fingerprint="0" * 64)
    with pytest.raises(ConventionError, match=r"the weights it was trained beside, got small-clip, other weights"):
        open_teacher(f"condense:{other}")
    itself = write_pair_run(tmp_path / "itself", tower=f"condense:{tmp_path / 'itself'}")
    with pytest.raises(ConventionError, match=r"expected a CLIP, SigLIP or DINOv2, got 'condense:"):
        open_teacher(f"condense:{itself}")
    consistent._embedded.cache_clear()
    monkeypatch.setattr(consistent, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(ResourceError, match=r"condense: expected weights that come with the package, got none.*condense:RUN"):
        open_choice(replace(TeacherChoice(), teacher="condense"))
    consistent._embedded.cache_clear()

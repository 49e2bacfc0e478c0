"""scenewise segment: refinements of class scores that papers propose, and whose licence is noted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.oracle_teacher import Oracle

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.errors import ConventionError
from scenewise.io.captures import open_capture
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.io.scene_folder import read_scene, read_scene_labels
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info
from scenewise.worlds.classes import CLASS_NAMES


class Unsure(Oracle):
    """Half the floor is a lamp to it, but it never believes that much."""

    def dense(self, image, frame_name):
        field = super().dense(image, frame_name)
        floor = field.values.argmax(axis=2) == CLASS_NAMES.index("floor")
        floor[:, ::2] = False
        values = field.values.copy()
        values[floor] = 0.0
        values[floor, CLASS_NAMES.index("lamp")] = 0.4
        lamps = field.values.argmax(axis=2) == CLASS_NAMES.index("lamp")
        values[lamps] *= 0.4
        return replace(field, values=values)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("refined") / "room"
    write_demo_capture(folder, seed=1_000_000, frames=4, width=96, height=72)
    return folder


def labels(room: Path, out: Path, **changes) -> np.ndarray:
    segment(SegmentOptions(target=(room,), out=out, max_points=2000, threads=1, **changes), None, Unsure(room, "probabilities"))
    return read_scene_labels(out, "points").class_ids


def test_classes_that_are_nowhere_probable_get_no_votes(room: Path, tmp_path: Path):
    lamp = CLASS_NAMES.index("lamp")
    plain, off = labels(room, tmp_path / "a", vote="view"), labels(room, tmp_path / "b", vote="view", pamr=0)
    assert plain.tobytes() == off.tobytes() and (plain == lamp).mean() > 0.02
    denoised = labels(room, tmp_path / "c", vote="view", prompt_denoising=0.5)
    assert not (denoised == lamp).any()
    assert read_scene(tmp_path / "c").provenance.config["segmentation"]["prompt_denoising"] == 0.5
    with pytest.raises(ConventionError, match="others: prompt_denoising"):
        labels(room, tmp_path / "c", vote="view", resume=True)


def test_what_would_have_no_effect_is_refused(room: Path, tmp_path: Path):
    with pytest.raises(ConventionError, match="--pamr: expected plain images"):
        labels(room, tmp_path / "a", pamr=3)
    with pytest.raises(ConventionError, match="--prompt-denoising: expected --vote view or set"):
        labels(room, tmp_path / "a", vote="none", prompt_denoising=0.5)
    with pytest.raises(ConventionError, match="--pamr: expected 0 to 1000 steps"):
        SegmentOptions(target=(room,), pamr=1001)


def test_plain_images_are_refined(room: Path, tmp_path: Path):
    Image.fromarray(open_capture(room).frames[0].load_image()).save(tmp_path / "a.png")
    maps = {}
    for name, changes in {"plain": {}, "off": {"pamr": 0}, "denoised": {"prompt_denoising": 0.5}, "pamr": {"pamr": 2}}.items():
        options = SegmentOptions(target=(tmp_path / "a.png",), out=tmp_path / name, threads=1, no_cache=True, **changes)
        segment(options, None, Halves())
        (written,) = (tmp_path / name).glob("*_labels.png")
        maps[name] = written.read_bytes()
    assert maps["plain"] == maps["off"] and len(set(maps.values())) == 3


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", None])
def test_the_teachers_licence_is_noted_beside_the_labels(room: Path, tmp_path: Path, licence: str | None):
    info = TeacherFilesInfo("labels", len(CLASS_NAMES), classes=CLASS_NAMES, licence=licence)
    write_teacher_info(tmp_path / "files", info)
    for frame in open_capture(room).frames:
        write_answer(tmp_path / "files", frame.name, info, TeacherAnswer(labels=read_class_ids(frame).astype(np.int32)))
    name = f"files:{tmp_path / 'files'}"
    segment(SegmentOptions(target=(room,), out=tmp_path / "out", teacher=name, vote="view", max_points=500, threads=1))
    assert read_scene(tmp_path / "out").licences[name] == licence


class Halves(Oracle):
    """A sure floor on the left, a wall that is nowhere probable on the right."""

    def __init__(self) -> None:
        self.kind, self.fingerprint = "probabilities", "halves"

    def dense(self, image, frame_name):
        values = np.zeros((6, 9, len(CLASS_NAMES)), dtype=np.float32)
        values[:, :4, CLASS_NAMES.index("floor")], values[:, 4:, CLASS_NAMES.index("wall")] = 0.9, 0.4
        from scenewise.scenes.dense_fields import DenseField

        return DenseField(values, image.shape[0], image.shape[1], "probabilities")

"""A teacher's answers on disk: asked once per image and settings, whatever happens to the files."""

from pathlib import Path

import numpy as np

from scenewise.scenes.dense_fields import DenseField
from scenewise.teachers.cached import CachedTeacher


class Means:
    """Says the mean colour, to more digits than float16 holds."""

    name, logit_scale, licence = "means", 10.0, "MIT"

    def __init__(self, fingerprint: str = "a/b") -> None:
        self.fingerprint, self.calls = fingerprint, 0

    def dense(self, image, frame_name):
        self.calls += 1
        if frame_name == "missing":
            return None
        values = np.full((2, 3, 4), float(image.mean()) / 3, dtype=np.float32)
        return DenseField(values, image.shape[0], image.shape[1], "features")

    def embed_text(self, phrases, templates):
        return np.ones((len(phrases), 4), dtype=np.float32)

    def default_templates(self):
        return ("{}",)

    def vocabulary(self):
        return None


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8)


def test_the_same_image_is_asked_for_once_and_answers_are_equal(tmp_path: Path):
    teacher = Means()
    first = CachedTeacher(teacher, tmp_path, 1 << 20)
    one = first.dense(picture(), "a/1.jpg")
    two = CachedTeacher(teacher, tmp_path, 1 << 20).dense(picture(), "a/1.jpg")
    uncached = CachedTeacher(Means(), tmp_path / "none", 0).dense(picture(), "a/1.jpg")
    assert teacher.calls == 1 and first.asked == 1 and first.licence == "MIT"
    for said in (two, uncached):
        np.testing.assert_array_equal(one.values, said.values)
        assert (said.height, said.width, said.kind) == (8, 10, "features")
    assert not (tmp_path / "none").exists()
    [path] = tmp_path.glob("*/*.safetensors")
    assert path.parent.name == "a_b" and path.name.startswith("a__1-")


def test_another_content_name_or_setting_is_asked_anew(tmp_path: Path):
    teacher = Means()
    cached = CachedTeacher(teacher, tmp_path, 1 << 20)
    cached.dense(picture(), "1.jpg")
    cached.dense(picture(1), "1.jpg")
    cached.dense(picture(), "2.jpg")
    assert teacher.calls == 3 and cached.found == 0
    other = Means("c")
    CachedTeacher(other, tmp_path, 1 << 20).dense(picture(), "1.jpg")
    assert other.calls == 1


def test_damaged_answers_are_asked_for_again(tmp_path: Path):
    teacher = Means()
    good = CachedTeacher(teacher, tmp_path, 1 << 20).dense(picture(), "1.jpg")
    [path] = tmp_path.glob("*/*.safetensors")
    for damage in (b"", b"rubbish", path.read_bytes()[:-3]):
        path.write_bytes(damage)
        again = CachedTeacher(teacher, tmp_path, 1 << 20).dense(picture(), "1.jpg")
        np.testing.assert_array_equal(again.values, good.values)
    assert teacher.calls == 4


def test_space_is_bounded_and_the_oldest_settings_go_first(tmp_path: Path):
    CachedTeacher(Means("old"), tmp_path, 1 << 20).dense(picture(), "1.jpg")
    [old] = tmp_path.glob("*/*.safetensors")
    limit = int(1.5 * old.stat().st_size)
    cached = CachedTeacher(Means("new"), tmp_path, limit)
    cached.dense(picture(), "1.jpg")
    assert not old.exists()
    assert cached.dense(picture(), "2.jpg") is not None  # no room, but an answer
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 1


def test_what_the_teacher_does_not_know_is_not_kept(tmp_path: Path):
    cached = CachedTeacher(Means(), tmp_path, 1 << 20)
    assert cached.dense(picture(), "missing") is None
    assert cached.asked == 0 and not list(tmp_path.glob("*/*.safetensors"))

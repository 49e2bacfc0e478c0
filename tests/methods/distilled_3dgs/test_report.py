"""The section of teachers and student: there when the scene was distilled, and honest where it cannot be shown."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.ring_scene import ring_scene, scene_folder

from scenewise.methods.distilled_3dgs.report import distillation_sections
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.scenes import Scene
from scenewise.scenes.sections import Pictures, ReportMaterial, Table

__all__ = ["ring_scene", "scene_folder"]

ROW = {"name": "vanilla", "num_gaussians": 2, "psnr": 30.0, "spz_bytes": 2_000_000}


def material(folder: Path, scene: Scene) -> ReportMaterial:
    """Two views of the ring, its photographs grey."""

    def frame(name: str) -> Frame:
        camera = scene.camera(name)
        return Frame(name, camera, load_image=lambda: np.full((camera.height, camera.width, 3), 90, dtype=np.uint8))

    frames = tuple(frame(entry.name) for entry in scene.cameras)
    capture = Capture(root=Path("ring"), source_format="world", frames=frames)
    return ReportMaterial(folder, scene, scene.cameras[:2], 3, capture)


def test_a_scene_without_teachers_has_no_such_section(scene_folder: Path, ring_scene: Scene):
    assert distillation_sections(material(scene_folder, ring_scene)) == []


@pytest.mark.parametrize("text", ["{", '{"table": []}', "[]"])
def test_a_damaged_record_becomes_a_warning(scene_folder: Path, ring_scene: Scene, text: str):
    (scene_folder / "distillation.json").write_text(text)
    (section,) = distillation_sections(material(scene_folder, ring_scene))
    assert section.content == () and section.warnings[0].startswith("Teachers and student are not shown: ")


def test_mean_student_and_photograph_stand_side_by_side(scene_folder: Path, ring_scene: Scene):
    record = {"table": [ROW], "curve": [ROW, ROW | {"name": "student", "spz_bytes": 1_000_000}], "teachers": ["."]}
    (scene_folder / "distillation.json").write_text(json.dumps(record))
    shown, training = distillation_sections(material(scene_folder, ring_scene))
    first, second, table = shown.content
    assert isinstance(first, Pictures) and isinstance(second, Pictures) and isinstance(table, Table)
    assert [picture.caption for picture in first.pictures] == ["mean of the teachers", "student", "photograph"]
    mean, student, photograph = (picture.image_u8 for picture in first.pictures)
    own = render(ring_scene.gaussians, ring_scene.cameras[0].camera).color.clamp(0, 1).numpy()
    assert (mean == student).all() and np.abs(student / 255 - own).max() <= 0.5 / 255 + 1e-6
    assert (photograph == 90).all()
    assert [row[""] for row in table.rows] == ["vanilla", "student"]
    (chart,) = training.content
    assert (chart.steps, chart.values) == ([1.0, 2.0], [30.0, 30.0])


def test_teachers_that_are_gone_become_a_warning_and_the_table_stays(scene_folder: Path, ring_scene: Scene):
    record = {"table": [ROW], "curve": [], "teachers": ["teachers/none"]}
    (scene_folder / "distillation.json").write_text(json.dumps(record))
    shown, training = distillation_sections(material(scene_folder, ring_scene))
    assert [type(block) for block in shown.content] == [Table] and training.content == ()
    assert shown.warnings[0].startswith("No pictures of the teachers: ")

"""The report of a scene folder: every part comes from a file, and what is missing is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.seen_page import SeenPage
from tests.support.small_graph import write_small_graph
from tests.support.small_room import room_scene, write_room

from scenewise.engine.journal import Journal
from scenewise.errors import DataFormatError
from scenewise.io.images import image_u8_from_color
from scenewise.io.scene_folder import no_gaussians, write_scene
from scenewise.rendering import RenderOutput, render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import EvaluationCard, Scene
from scenewise.scenes.sections import Pictures, ReportMaterial
from scenewise.show.report.graph import graph_sections
from scenewise.show.report.report import shown_views, write_report


def photographs(scene: Scene) -> Capture:
    """A capture whose pictures are the scene's own renders, made 8 levels brighter."""

    def taken(index: int) -> Frame:
        camera = scene.cameras[index].camera
        with torch.no_grad():
            color = render(scene.gaussians, camera).color.numpy()
        image_u8 = np.minimum(image_u8_from_color(color).astype(int) + 8, 255).astype(np.uint8)
        return Frame(scene.cameras[index].name, camera, load_image=lambda: image_u8)

    return Capture(root=Path("ring"), source_format="world", frames=tuple(taken(index) for index in range(len(scene.cameras))))


def test_everything_known_about_a_run_is_in_its_report(scene_folder: Path, ring_scene: Scene):
    card = EvaluationCard(
        split="test",
        num_views=2,
        psnr=30.125,
        ssim=0.91,
        lpips=None,
        num_gaussians=2,
        seconds=88.0,
        peak_memory_bytes=1_200_000_000,
        more={
            "images": [{"image": "images/1.jpg", "psnr": 29.5}, {"image": "images/3.jpg", "psnr": 30.75}],
            "color_corrected": {"psnr": 31.0},
        },
    )
    scene = replace(ring_scene, evaluation=card)
    write_scene(scene_folder, scene)
    with Journal(scene_folder / "log.jsonl") as journal:
        journal.write("stage", name="initial points", seconds=9.5)
        journal.write("warning", message="17 of 67 listed images are missing")
        for step in range(0, 300, 10):
            journal.write("step", step=step, loss=0.3 / (1 + step), num_gaussians=100 + step)
        journal.write("evaluation", step=100, psnr=20.0)
        journal.write("evaluation", step=200, psnr=25.0)
    path = write_report(scene_folder, capture=photographs(scene))
    assert path == scene_folder / "report.html"
    page = path.read_text(encoding="utf-8")
    for expected in (
        "<b>30.12 dB</b><span>PSNR, held-out</span>",
        "<b>1 min 28 s</b>",
        "<b>1.2 GB</b>",
        "17 of 67 listed images are missing",
        "initial points",
        "images/3.jpg",
        "color corrected",
        "PSNR of held-out views, dB",
        "2 Gaussians from 2 photographs, 2 held out",
    ):
        assert expected in page, expected
    assert page.count("<svg") == 3 and page.count("data:image/jpeg") == 2 * 3
    assert "PSNR 29.50" in page and "LPIPS" not in page.split("Evaluation card")[0]
    seen = SeenPage(page)
    assert list(seen.sections) == [
        "Warnings",
        "Held-out views",
        "Training",
        "Every measured image",
        "Where the time went",
        "Evaluation card",
        "Provenance",
    ]
    assert [picture.meaning for picture in seen.sections["Held-out views"].pictures] == [
        f"{what} of images/{number}.jpg"
        for number in (1, 3)
        for what in ("photograph", "render", "absolute error, white = 0.25 or more")
    ]
    assert seen.sections["Training"].charts == ["Loss", "PSNR of held-out views, dB", "Gaussians"]
    assert seen.sections["Where the time went"].rows == [["initial points", "9.5 s", ""]]


def test_what_the_evaluation_rendered_is_not_rendered_again(scene_folder: Path, ring_scene: Scene, monkeypatch):
    """Of two views one was rendered before, and nothing is read that is given."""
    rows = [{"image": entry.name, "psnr": 30.0} for entry in ring_scene.cameras_of("test")]
    card = EvaluationCard(split="test", num_views=2, psnr=30.0, ssim=None, lpips=None, num_gaussians=2, more={"images": rows})
    scene = replace(ring_scene, evaluation=card)
    first, second = shown_views(scene)
    before = np.full((first.camera.height, first.camera.width, 3), 200, dtype=np.uint8)
    rendered: list[Cameras] = []

    def counting(gaussians: Gaussians, camera: Cameras, **more: Any) -> RenderOutput:
        rendered.append(camera)
        return render(gaussians, camera, **more)

    monkeypatch.setattr("scenewise.show.report.held_out.render", counting)
    (scene_folder / "scene.json").unlink()
    path = write_report(scene_folder, scene=scene, capture=photographs(scene), renders={first.name: before})
    assert rendered == [second.camera]
    pictures = SeenPage(path.read_text(encoding="utf-8")).sections["Held-out views"].pictures
    assert np.abs(pictures[1].pixels.astype(int) - 200).max() <= 2 and pictures[4].pixels.mean() < 150


def test_views_nobody_measured_get_a_figure_of_their_own(scene_folder: Path, ring_scene: Scene):
    """Eight levels of 255 too bright wherever it is not saturated: 20·log10(255/8) = 30.07 dB."""
    page = write_report(scene_folder, capture=photographs(ring_scene)).read_text(encoding="utf-8")
    assert "PSNR 30.0" in page


def test_without_photographs_the_report_says_why_there_are_no_pictures(scene_folder: Path):
    page = write_report(scene_folder).read_text(encoding="utf-8")
    assert "No pictures: ring: expected a folder with a capture, got no such folder" in page
    assert "data:image" not in page and "<svg" not in page


def test_no_scene_no_report(tmp_path: Path):
    with pytest.raises(DataFormatError):
        write_report(tmp_path)


def test_a_scene_graph_is_in_the_report(tmp_path: Path):
    folder = write_small_graph(write_room(tmp_path / "room"))
    seen = SeenPage(write_report(folder).read_text(encoding="utf-8"))
    section = seen.sections["Scene graph"]
    assert [picture.meaning for picture in section.pictures] == [
        "Plan of the floor with objects and relations",
        "Objects and relations seen from 1.jpg",
    ]
    assert section.pictures[0].pixels.shape[1] == section.pictures[1].pixels.shape[1] == 900
    assert ["sofa 3", "80%", "80 × 60 × 50 cm", "room 1", "0", "0", "–"] in section.rows
    assert ["lamp 7", "80%", "70 × 55 × 60 cm", "room 1", "0", "0", "2.jpg"] in section.rows
    assert ["lamp 7 lighting sofa 3", "60%", "network"] in section.rows
    assert "6; 4 without those that say the same from the other side" in section.text
    names = list(seen.sections)
    assert names.index("Names") < names.index("Scene graph") < names.index("Provenance")


def test_a_damaged_scene_graph_is_a_warning(tmp_path: Path):
    folder = write_room(tmp_path / "room")
    assert "Scene graph" not in SeenPage(write_report(folder).read_text(encoding="utf-8")).sections
    (folder / "graph.json").write_text('{"format": "another"}')
    seen = SeenPage(write_report(folder).read_text(encoding="utf-8"))
    assert "No scene graph: " in seen.sections["Warnings"].text and "graph.json" in seen.sections["Warnings"].text


def test_a_labelled_cloud_has_a_plan(tmp_path: Path):
    folder = write_small_graph(write_room(tmp_path / "room"))
    scene = replace(room_scene(), load_gaussians=no_gaussians, num_gaussians=0)
    (section,) = graph_sections(ReportMaterial(folder, scene, scene.cameras[:1], 3))
    assert [block.heading for block in section.content if isinstance(block, Pictures)] == ["Plan"]
    assert section.figures == {"objects in the graph": "3", "relations": "6"} and not section.warnings

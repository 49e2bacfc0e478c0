"""Pictures and films of a scene folder."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.processes import run_command_line, run_process

from scenewise.commands.render.options import RenderOptions
from scenewise.commands.render.run import render_scene
from scenewise.errors import ConventionError, DataFormatError, ResourceError, ScenewiseError


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_own_views_show_what_the_cameras_see(scene_folder: Path):
    summary = render_scene(RenderOptions(scene=scene_folder, device="cpu"))
    assert [path.name for path in summary.files] == ["images__1.png", "images__3.png"]  # the held-out ones
    picture = pixels(summary.files[0])
    assert picture.shape == (32, 48, 3)
    red, green = picture[16, 24], picture[6, 24]  # the green ball is 40 px · 1/4 = 10 px above the red one
    assert red[0] > 200 and red[1] < 60
    assert green[1] > 180 and green[0] < 60
    assert picture[2, 2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("split", "count"), [("train", 2), ("test", 2), ("all", 4)])
def test_each_split(scene_folder: Path, split, count):
    assert render_scene(RenderOptions(scene=scene_folder, split=split)).pictures == count


def test_the_background_and_the_other_channels(scene_folder: Path):
    white = render_scene(RenderOptions(scene=scene_folder, background=(1.0, 1.0, 1.0)))
    assert pixels(white.files[0])[2, 2].tolist() == [255, 255, 255]
    alpha = render_scene(RenderOptions(scene=scene_folder, channel="alpha"))
    assert alpha.files[0].name == "images__1_alpha.png"
    assert pixels(alpha.files[0])[16, 24].min() > 230 and pixels(alpha.files[0])[2, 2].max() == 0
    depth = render_scene(RenderOptions(scene=scene_folder, channel="depth"))
    assert pixels(depth.files[0])[16, 24].max() > 0 and pixels(depth.files[0])[2, 2].max() == 0


def test_an_orbit_keeps_the_focus_in_the_middle(scene_folder: Path):
    summary = render_scene(RenderOptions(scene=scene_folder, path="orbit", frames=5))
    assert [path.name for path in summary.files] == [f"{number:04d}.png" for number in range(5)]
    for path in summary.files:
        assert pixels(path)[16, 24, 0] > 200  # the red ball, from all sides


def test_size_keeps_the_aspect_ratio_or_the_vertical_field_of_view(scene_folder: Path):
    wide = render_scene(RenderOptions(scene=scene_folder, width=96, out=scene_folder / "a"))
    assert (wide.width, wide.height) == (96, 64)
    assert pixels(wide.files[0])[12, 48, 1] > 180
    square = render_scene(RenderOptions(scene=scene_folder, width=32, height=32, out=scene_folder / "b"))
    assert (square.width, square.height) == (32, 32)
    assert pixels(square.files[0])[6, 16, 1] > 180


def test_a_film_holds_all_pictures(scene_folder: Path):
    cv2 = pytest.importorskip("cv2")
    summary = render_scene(RenderOptions(scene=scene_folder, path="orbit", frames=7, format="mp4", width=47, fps=10))
    assert summary.files == (scene_folder / "renders" / "orbit_color.mp4",)
    film = cv2.VideoCapture(str(summary.files[0]))
    pictures = []
    while (read := film.read())[0]:
        pictures.append(read[1])
    assert len(pictures) == 7 and pictures[0].shape == (30, 46, 3)
    blue, green, red = pictures[3][15, 23]
    assert red > 150 and green < 100 and blue < 100


def test_existing_pictures_stay_unless_told_otherwise(scene_folder: Path):
    options = RenderOptions(scene=scene_folder)
    first = render_scene(options).files[0]
    with pytest.raises(ConventionError, match=r"images__1\.png: expected nothing in the way.*--overwrite"):
        render_scene(options)
    first.write_bytes(b"old")
    render_scene(replace(options, overwrite=True))
    assert pixels(first).shape == (32, 48, 3)


def test_no_scene_is_one_clear_error(tmp_path: Path):
    with pytest.raises(DataFormatError, match="nowhere"):
        render_scene(RenderOptions(scene=tmp_path / "nowhere"))


def test_cuda_that_is_not_there_is_said_before_any_work(scene_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ScenewiseError, match="CUDA: expected a device, got none"):
        render_scene(RenderOptions(scene=scene_folder, device="cuda"))


def _filmed_where_files_stay_small(scene: Path, film: Path, said: Path) -> None:
    """In a process of its own, whose files may not grow beyond 1 kB: what a full disk does to a film, without one."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    line = ["render", str(scene), "--path", "orbit", "--frames", "9", "--format", "mp4", "--out", str(film)]
    run_command_line(line, said)


@pytest.mark.skipif(os.name != "posix", reason="sizes of files are limited in another way here")
def test_a_film_that_was_cut_short_is_never_reported_as_done(scene_folder: Path, tmp_path: Path):
    film, said = tmp_path / "film.mp4", tmp_path / "said"
    assert run_process(_filmed_where_files_stay_small, scene_folder, film, said) == 2
    assert f"disk space for {film}: expected room for the whole file" in said.with_suffix(".err").read_text()
    assert not film.exists() and not list(tmp_path.glob(".scenewise-*"))


def test_a_film_that_cannot_be_read_again_is_no_film(scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import cv2

    monkeypatch.setattr(cv2.VideoWriter, "write", lambda writer, picture: None, raising=False)
    options = RenderOptions(scene=scene_folder, path="orbit", frames=3, format="mp4", out=tmp_path / "film.mp4")
    with pytest.raises(ResourceError, match="expected a film of 3 pictures, got 0 that can be read again"):
        render_scene(options)
    assert not (tmp_path / "film.mp4").exists()


@pytest.mark.errors
def test_a_film_needs_two_pixels_a_side(scene_folder: Path):
    with pytest.raises(ConventionError, match="pictures of at least 2×2 pixels, got 1×1"):
        render_scene(RenderOptions(scene=scene_folder, path="orbit", frames=2, format="mp4", width=1, height=1))

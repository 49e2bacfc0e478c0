"""The demo, shortened: what a newcomer runs first."""

import json
from pathlib import Path

import pytest

from scenewise.commands.demo.options import DemoOptions
from scenewise.commands.demo.run import run_demo
from scenewise.errors import ConventionError


def test_a_folder_in_use_is_left_alone(tmp_path: Path):
    """Even one whose subfolders have the demo's names."""
    photographs = tmp_path / "mine" / "room"
    photographs.mkdir(parents=True)
    (photographs / "precious.jpg").write_bytes(b"x")
    with pytest.raises(ConventionError, match="expected a new folder or an earlier demo, got a folder in use"):
        run_demo(DemoOptions(out=tmp_path / "mine", quick=True))
    assert (photographs / "precious.jpg").exists()


@pytest.mark.slow
def test_the_demo_writes_a_whole_scene_and_can_be_run_again(tmp_path: Path):
    options = DemoOptions(out=tmp_path / "demo", quick=True, threads=1)
    first = run_demo(options)
    for name in ("splats.ply", "splats.spz", "scene.json", "report.html", "log.jsonl"):
        assert (first.scene / name).stat().st_size > 0, name
    assert any((first.scene / "renders" / "test").glob("*.png"))
    card = json.loads((first.scene / "scene.json").read_text(encoding="utf-8"))["evaluation"]
    assert first.evaluation is not None and card["psnr"] == first.evaluation.psnr
    page = (first.scene / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") >= 6 and page.count("<svg") >= 2
    text = first.text()
    assert "splats.ply" in text and "PSNR" in text and "held-out" in text
    second = run_demo(options)
    assert second.evaluation == first.evaluation or second.evaluation.psnr == first.evaluation.psnr

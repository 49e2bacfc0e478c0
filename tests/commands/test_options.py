"""Options check themselves, whoever fills them in."""

from pathlib import Path

import pytest

from scenewise.commands.demo.options import DemoOptions
from scenewise.commands.export.options import ExportOptions
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.render.options import RenderOptions
from scenewise.engine.option_values import bytes_from_text
from scenewise.errors import ConventionError
from scenewise.methods.momentum_gs.options import BlockOptions

CAPTURE, OUT = Path("capture"), Path("scene")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2_000_000_000), ("2GiB", 2_147_483_648), ("1.5 mb", 1_500_000), ("64k", 64_000), ("123", 123), ("7B", 7)],
)
def test_sizes_read_as_people_write_them(text: str, size: int):
    assert bytes_from_text(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-2GB", "0", "2XB", "1e9", "two", "2GB 3"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(ConventionError, match="2GB"):
        bytes_from_text(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReconstructOptions(CAPTURE, OUT, steps=0), "--steps: expected 1 or more, got 0"),
        (lambda: ReconstructOptions(CAPTURE, OUT, minutes=float("nan")), "--minutes: expected a time above 0, got nan"),
        (
            lambda: ReconstructOptions(CAPTURE, OUT, minutes=1.0, steps=5),
            "--steps and --minutes: expected one of the two, got both",
        ),
        (lambda: ReconstructOptions(CAPTURE, OUT, resume=True, overwrite=True), "--resume and --overwrite"),
        (lambda: ReconstructOptions(CAPTURE, OUT, sh_degree=4), "--sh-degree: expected 0, 1, 2 or 3, got 4"),
        (lambda: ReconstructOptions(CAPTURE, OUT, budget="lots"), "size: expected a number with a unit"),
        (lambda: ReconstructOptions(CAPTURE, OUT, background=(0.0, 255.0, 0.0)), "--background"),
        (lambda: ReconstructOptions(CAPTURE, OUT, downscale=0), "--downscale"),
        (lambda: BlockOptions(processes=0), "--processes: expected 1 or more, got 0"),
        (lambda: BlockOptions(processes=2, workers=3), r"--workers: expected a multiple of the 2 --processes, got 3\. Fix: each"),
        (lambda: BlockOptions(processes=3, blocks="2,1,1"), "--processes: expected at most 2, as there are 2 blocks, got 3"),
        (lambda: BlockOptions(processes=2, workers=4, blocks="3,1,1"), "--workers: .*multiple of the 2 --processes, got 3"),
        (lambda: ReconstructOptions(CAPTURE, OUT, city=BlockOptions(processes=2)), "--processes: expected --method momentum_gs"),
        (lambda: ReconstructOptions(CAPTURE, OUT, ray="auto"), "--ray auto: .*distilled_3dgs or --method momentum_gs, got"),
        (lambda: RenderOptions(OUT, elevation_deg=90.0), "--elevation-deg"),
        (lambda: RenderOptions(OUT, radius=0.0), "--radius"),
        (lambda: ExportOptions(OUT, format="spz", georeferenced=True), "--format points, got --format spz"),
        (lambda: ExportOptions(OUT, format="points", max_gaussians=5), "--max-gaussians: expected --format ply or spz, got"),
        (lambda: ExportOptions(OUT, max_gaussians=0), "--max-gaussians: expected 1 or more, got 0"),
        (lambda: DemoOptions(seed=-1), "--seed"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(make, message: str):
    with pytest.raises(ConventionError, match=message):
        make()


@pytest.mark.parametrize(("given", "workers"), [({}, 1), ({"processes": 3}, 3), ({"processes": 2, "workers": 4}, 4)])
def test_there_is_a_worker_for_each_process_unless_somebody_says(given: dict[str, int], workers: int):
    assert BlockOptions(**given).all_workers == workers

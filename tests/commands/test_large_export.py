"""What ``benchmarks/large_export.py`` does with 20 million Gaussians, with fewer and in one process."""

import importlib.util
from pathlib import Path

import pytest

from scenewise.commands.export.options import ExportOptions
from scenewise.commands.export.run import export_scene

_SCRIPT = Path(__file__).parents[2] / "benchmarks/large_export.py"


@pytest.fixture
def benchmark_script():
    spec = importlib.util.spec_from_file_location("large_export", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_of_a_tiled_scene_hold_the_same_to_an_independent_reader(benchmark_script, tmp_path: Path):
    (tmp_path / "scene").mkdir()
    benchmark_script.make(tmp_path / "scene", 50_000, None)
    for count in (50_000, 20_000):
        paths = [tmp_path / f"{count}.{form}" for form in ("ply", "spz")]
        results = [export_scene(ExportOptions(tmp_path / "scene", path.suffix[1:], path, max_gaussians=count)) for path in paths]
        assert [(result.count, result.made_from) for result in results] == [(count, 50_000)] * 2
        worst = benchmark_script.compare(*paths)
        assert set(worst) == {"position", "opacity", "colour", "log scale", "rotation"}
    rows = benchmark_script.read_ply(tmp_path / "50000.ply")
    assert rows[0, 0] != rows[19_600, 0] and rows[0, 9] == rows[19_600, 9]  # the first of the first two tiles
    content = bytearray((tmp_path / "50000.ply").read_bytes())
    content[-1] ^= 0x80  # one rotation's sign
    (tmp_path / "50000.ply").write_bytes(content)
    with pytest.raises(AssertionError):
        benchmark_script.compare(tmp_path / "50000.ply", tmp_path / "50000.spz")

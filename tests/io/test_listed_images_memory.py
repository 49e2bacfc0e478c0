"""Memory does not grow with the number of listed images; ``benchmarks/listed_images_rss.py`` measures the real size."""

import importlib.util
import tracemalloc
from pathlib import Path

import pytest

from scenewise.io.captures import open_capture
from scenewise.io.decode_cache import DecodeCache

_SCRIPT = Path(__file__).parents[2] / "benchmarks/listed_images_rss.py"


@pytest.fixture
def benchmark_script():
    spec = importlib.util.spec_from_file_location("listed_images_rss", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WIDTH, module.HEIGHT = 64, 48
    return module


@pytest.mark.parametrize("layout", ["colmap", "transforms"])
def test_a_record_takes_kilobytes(layout: str, benchmark_script, tmp_path: Path):
    benchmark_script.fabricate(tmp_path / "c", 150, layout, lens_per_image=False)
    open_capture(tmp_path / "c")  # what is loaded and cached once
    tracemalloc.start()
    try:
        capture = open_capture(tmp_path / "c")
        kept, peak = tracemalloc.get_traced_memory()
        cache = DecodeCache(20 * 64 * 48 * 3)
        for frame in capture.frames_with_image:
            cache.image(frame)
        decoded, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 150 * 8_000  # 5,000 images: 40 MB
    assert peak < 150 * 30_000
    assert decoded - kept < cache.max_bytes + 400_000  # nothing stays with the frames

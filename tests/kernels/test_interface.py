"""A compiled library and its sources: told apart by what callers see, and never called where they differ."""

from pathlib import Path

import pytest

from scenewise.kernels.native import library
from scenewise.kernels.native.interface import interface_of

SOURCE = """
struct Scene {
  int64_t n;
  const float* means;
};
struct Inner {
  float spread;
};
// Adds up.
SW_EXPORT void sw_sum(const Scene* scene, double* out) {
  out[0] = 0.0;
}
"""


def interface(folder: Path, text: str) -> str | None:
    (folder / "kernel.cpp").write_text(text, encoding="utf-8")
    return interface_of(folder)


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("out[0] = 0.0;", "out[0] = 1.0;", False),
        ("// Adds up.", "/* Sums,\n twice. */", False),
        ("(const Scene* scene, double* out)", "(\n    const Scene* scene,\n    double* out)", False),
        ("float spread", "double spread", False),  # no entry point takes it
        ("double* out", "float* out", True),
        ("int64_t n;", "int32_t n;", True),
        ("  const float* means;", "  float near;\n  const float* means;", True),
        ("sw_sum", "sw_total", True),
    ],
)
def test_the_fingerprint_is_of_what_callers_see(tmp_path: Path, old: str, new: str, differs: bool) -> None:
    assert old in SOURCE
    assert (interface(tmp_path, SOURCE) != interface(tmp_path, SOURCE.replace(old, new))) is differs


def test_without_sources_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert interface_of(tmp_path) is None


def test_the_library_in_use_was_compiled_from_these_sources() -> None:
    if not library._path("base").exists():
        pytest.skip("the compiled library was not built")
    assert not library._other_sources(library._open("base"))


def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if not library._path("base").exists():
        pytest.skip("the compiled library was not built")
    monkeypatch.delenv("SCENEWISE_ISA", raising=False)
    monkeypatch.setattr(library, "interface_of", lambda folder: "0123456789abcdef")
    with pytest.warns(UserWarning, match=r"compiled from other sources; install the package again"):
        found, reason = library._choose.__wrapped__()
    assert found is None
    assert "was compiled from other sources" in reason

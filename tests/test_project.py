"""Promises about the project as a whole: cheap imports, active checks, no unsafe calls, a paper map that does not rot."""

import ast
import builtins
import doctest
import importlib
import re
import subprocess
import symtable
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.io.decode_cache import DecodeCache
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for folder in ("src", "tests", "benchmarks", "build_backend", "docs") for path in (ROOT / folder).rglob("*.py")
)


def parsed(path: Path) -> ast.Module:
    """The tree of a source file, not kept: all of them are millions of objects for the collector to walk through."""
    return ast.parse(path.read_text(encoding="utf-8"))


# --- imports ---------------------------------------------------------------------------------------------------------------


def _modules_after(code: str) -> set[str]:
    code += "\nimport sys\nsys.stderr.write('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split("\n")}


def test_importing_the_package_loads_no_heavy_library():
    assert not {"torch", "numpy", "scipy", "PIL", "cv2"} & _modules_after("import scenewise")


def test_help_of_every_command_loads_no_torch():
    code = """
import contextlib, io
from scenewise.cli.main import COMMANDS, main
for arguments in [["--help"], *([name, "--help"] for name in COMMANDS), ["train", "hicl", "--help"]]:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main(arguments) == 0, arguments
    assert "usage: scenewise" in text.getvalue()
"""
    assert not {"torch", "scipy", "cv2"} & _modules_after(code)


# --- names -----------------------------------------------------------------------------------------------------------------


def unknown_names(source: str) -> set[str]:
    """Names that a module uses and nobody binds.  Linters cannot be asked: shapes in annotations are names to them."""
    top = symtable.symtable(source, "module", "exec")
    tables = [top]
    for table in tables:
        tables.extend(table.get_children())
    bound = {name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported() or name.is_namespace()}
    bound |= {name.get_name() for table in tables for name in table.get_symbols() if name.is_declared_global()}
    bound |= {*dir(builtins), "__file__", "__path__"}
    used = {
        name.get_name()
        for table in tables
        for name in table.get_symbols()
        if name.is_referenced() and (table is top or name.is_global())
    }
    return used - bound


def test_every_name_is_bound():
    found = {path: unknown_names(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {str(path.relative_to(ROOT)): names for path, names in found.items() if names} == {}


def test_the_search_for_unknown_names_finds_them_and_knows_shapes():
    assert unknown_names("def f(x):\n    return missing(x)") == {"missing"}
    assert unknown_names("class A:\n    def f(self):\n        return [gone for _ in self]") == {"gone"}
    assert unknown_names("import a\ndef f(x: a.Float[a.Tensor, 'n 3']) -> int:\n    y = len(x)\n    return y") == set()


# --- the shape hook ----------------------------------------------------------------------------------------------------------


def test_the_shape_hook_rejects_a_wrong_argument():
    """Fails when the session runs without the hook, or with it misspelt."""
    with pytest.raises(TypeError, match="Type-check error"):
        Cameras(camera_from_world=torch.eye(3, dtype=torch.float64), K=torch.eye(3, dtype=torch.float64), width=4, height=3)


def test_the_shape_hook_rejects_axes_that_disagree_between_fields():
    n2, n3 = torch.zeros(2, 3), torch.zeros(3, 4)
    with pytest.raises(TypeError, match="Type-check error"):
        Gaussians(
            means=n2, log_scales=n2, quats=n3, logit_opacities=torch.zeros(2), sh0=torch.zeros(2, 1, 3), shN=torch.zeros(2, 0, 3)
        )


def test_the_shape_hook_rejects_a_wrong_result():
    """The part that passes silently when the type checker is not the last item of --jaxtyping-packages."""
    camera = Cameras(torch.eye(4, dtype=torch.float64), torch.eye(3, dtype=torch.float64), width=5, height=4)
    lying = Frame("a.png", camera, load_image=lambda: np.zeros((4, 5, 4), dtype=np.uint8))
    with pytest.raises(TypeError, match="return value"):
        DecodeCache(1000).image(lying)


# --- unsafe calls ------------------------------------------------------------------------------------------------------------

_BANNED_IMPORTS = {
    "pickle": "runs code on load",
    "cPickle": "runs code on load",
    "dill": "runs code on load",
    "marshal": "runs code on load",
    "shelve": "pickles",
    "yaml": "constructs objects on load; configuration is JSON",
    "plyfile": "GPL",
    "torchvision": "replaces torch by a CUDA build",
}


def unsafe_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and reason of everything that could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                reason = _BANNED_IMPORTS.get(name.partition(".")[0])
                if reason:
                    yield node.lineno, f"import of {name}: {reason}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}

        def is_true(name: str, keywords: dict[str | None, ast.expr] = keywords) -> bool:
            value = keywords.get(name)
            return value is not None and not (isinstance(value, ast.Constant) and not value.value)

        if called in ("eval", "exec", "compile", "builtins.eval", "builtins.exec", "os.system", "os.popen"):
            yield node.lineno, called
        if called == "torch.load" and not is_true("weights_only"):
            yield node.lineno, "torch.load without weights_only=True"
        if is_true("shell") and called.partition(".")[0] == "subprocess":
            yield node.lineno, "shell=True"
        if is_true("allow_pickle"):
            yield node.lineno, "allow_pickle=True"
        if called.endswith("extractall") and "filter" not in keywords:
            yield node.lineno, "extractall without a filter"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_can_run_what_it_reads(path: Path):
    assert list(unsafe_calls(parsed(path))) == []


@pytest.mark.parametrize(("name", "why"), _BANNED_IMPORTS.items())
def test_the_search_for_unsafe_calls_finds_banned_imports(name: str, why: str):
    """Whole, from, and of a module inside."""
    for line, found in ((f"import {name}", name), (f"from {name} import x", name), (f"import {name}.inside", f"{name}.inside")):
        assert list(unsafe_calls(ast.parse(line))) == [(1, f"import of {found}: {why}")]


# Text to be searched, never run: each line is something the search has to find, with the reason it has to give.
_UNSAFE_SAMPLES = {
    "torch.load(path)": "torch.load without weights_only=True",  # what older torch reads as pickle
    "torch.load(path, weights_only=False)": "torch.load without weights_only=True",  # the keyword alone is not enough
    "np.load(path, allow_pickle=True)": "allow_pickle=True",
    "subprocess.run(command, shell=True)": "shell=True",
    "eval(text)": "eval",
    "exec(text)": "exec",
    "archive.extractall(folder)": "extractall without a filter",
}


@pytest.mark.parametrize(("line", "reason"), _UNSAFE_SAMPLES.items())
def test_the_search_for_unsafe_calls_finds_them(line: str, reason: str):
    assert list(unsafe_calls(ast.parse(line))) == [(1, reason)]


@pytest.mark.parametrize("line", ["model.eval()", "torch.load(path, weights_only=True)", "np.load(path)", "re.compile(text)"])
def test_the_search_for_unsafe_calls_leaves_safe_ones_alone(line: str):
    assert list(unsafe_calls(ast.parse(line))) == []


def test_no_requirement_brings_what_must_not_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    names = {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in everything}
    assert not names & {"torchvision", "plyfile", "timm", "open-clip-torch", "pykdtree"}
    assert any(re.fullmatch(r"torch>=[\d.]+,<[\d.]+", line) for line in project["dependencies"]), "torch needs an upper bound"


# --- future annotations switch the shape hook off ----------------------------------------------------------------------------


def test_no_module_turns_its_annotations_into_text():
    guilty = [
        path.name
        for path in SOURCES
        if "__future__" in path.read_text(encoding="utf-8")
        and any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
            for node in parsed(path).body
        )
    ]
    assert guilty == []


# --- examples in docstrings --------------------------------------------------------------------------------------------------

WITH_EXAMPLES = [path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_are_true(path: Path):
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0


def test_the_python_example_of_the_readme_names_what_exists():
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert example is not None
    for node in ast.walk(ast.parse(example[1])):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                assert hasattr(importlib.import_module(node.module), alias.name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "scenewise":
            assert hasattr(importlib.import_module("scenewise"), node.attr)


def test_the_readme_names_every_command():
    from scenewise.cli.main import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `scenewise ([\w-]+)[ `]", readme, flags=re.MULTILINE))
    assert rows == set(COMMANDS)


def test_links_between_documents_lead_somewhere():
    broken = []
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")) and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert broken == []


# --- the paper map -----------------------------------------------------------------------------------------------------------

METHODS = sorted(
    path.parent for path in (ROOT / "src" / "scenewise" / "methods").glob("*/__init__.py") if path.parent.name != "__pycache__"
)


def _named_functions(readme: str) -> list[str]:
    return sorted(set(re.findall(r"`(scenewise(?:\.\w+)+)`", readme)))


def _departures(readme: str) -> list[str]:
    """Items of lists, and rows of tables, under the README's heading about departures."""
    section = re.search(r"^##+ [^\n]*\bdepartures\b[^\n]*\n(.*?)(?=^##|\Z)", readme, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    return re.findall(r"^[-*|] .*", section[1], flags=re.MULTILINE) if section else []


def _resolve(dotted: str) -> object:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[name] if name in fields else getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("folder", METHODS, ids=lambda folder: folder.name)
def test_every_method_says_which_function_is_which_equation(folder: Path):
    readme = (folder / "README.md").read_text(encoding="utf-8")
    named = _named_functions(readme)
    assert len(named) >= 3, "the README's table names the function of each equation as `scenewise.module.function`"
    for dotted in named:
        assert _resolve(dotted) is not None
    assert _departures(readme), "the README lists its departures from the paper"
    table = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert re.search(rf"^\|.*\b{folder.name}\b.*\|$", table, flags=re.MULTILINE), "docs/methods.md has a row for the method"


def test_a_word_about_departures_is_no_list_of_them():
    listed = "## Departures from the paper\n\n- **Length.** Shorter.\n  Much.\n\n## Numbers\n\n- 1\n"
    assert _departures(listed) == ["- **Length.** Shorter."]
    assert _departures("## Departures\n\nNone are listed.\n\n## Numbers\n\n- 1\n") == []
    assert _departures("There are no departures.\n\n- 1\n") == []


def test_the_paper_map_notices_a_function_that_is_gone():
    assert _resolve("scenewise.scenes.gaussians.Gaussians.means") is not None
    with pytest.raises(AttributeError):
        _resolve("scenewise.scenes.gaussians.Gaussians.nothing")

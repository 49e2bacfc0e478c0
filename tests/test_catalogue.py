"""One table knows every method: presets keep their values, and nothing else in the package asks for a method by its name."""

import ast
import json
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import scenewise
from scenewise.catalogue import (
    DEFAULT_GRAPH_METHOD,
    DEFAULT_PRETRAINING_METHOD,
    GRAPH_METHODS,
    LABEL_FREE_METHODS,
    PRETRAINING_METHODS,
    READ_OUT_METHODS,
    SPLAT_METHODS,
    method_recipe,
    with_changes,
)
from scenewise.errors import ConventionError
from scenewise.parts.segments.vote_settings import VoteSettings

PACKAGE = Path(next(iter(scenewise.__path__)))
GOLDEN = json.loads((Path(__file__).parent / "golden" / "label_free_presets.json").read_text(encoding="utf-8"))

# Names of methods that stand for something else, or for a file's format.
OTHER_MEANINGS = {
    ("metrics/segmentation.py", "clip2scene"),  # conventions of counting
    ("parts/splats/building.py", "gaussian_splatting"),  # of records of runs that no command made
    ("commands/train_graph/options.py", "vl_sat"),  # the student of that name
    ("networks/graphs/students.py", "vl_sat"),
    ("teachers/choice.py", "condense"),  # how a person names a pair of branches
    ("commands/features/options.py", "condense"),  # its space, and the embedded pair
    ("commands/features/run.py", "condense"),
    ("teachers/read_outs/settings.py", "sc_clip"),  # the table of read-outs, which the catalogue takes over
}


@pytest.mark.parametrize("method", LABEL_FREE_METHODS)
def test_every_preset_has_the_settings_it_had(method: str):
    assert {preset: dict(method_recipe(method, preset).config) for preset in LABEL_FREE_METHODS[method].presets} == GOLDEN[method]


def test_every_method_is_described_in_its_folder_and_can_be_built():
    for name, method in {**LABEL_FREE_METHODS, **SPLAT_METHODS, **GRAPH_METHODS}.items():
        assert method.readme == PACKAGE / "methods" / name / "README.md" and method.readme.is_file()
    for method in LABEL_FREE_METHODS.values():
        assert callable(method.recipe.named())
        assert all(isinstance(settings, method.options) for settings in method.presets.values())
    for method in GRAPH_METHODS.values():
        assert callable(method.trainer.named())
        assert all(isinstance(settings, method.options) for settings in method.presets.values())
    assert DEFAULT_GRAPH_METHOD in GRAPH_METHODS
    for name, method in PRETRAINING_METHODS.items():
        assert method.readme == PACKAGE / "methods" / name / "README.md"
        assert all(isinstance(settings, method.options) for settings in method.presets.values())
    assert DEFAULT_PRETRAINING_METHOD in PRETRAINING_METHODS
    for method in SPLAT_METHODS.values():
        assert callable(method.start.named()) and is_dataclass(method.settings.named())


def test_no_method_is_asked_for_by_name_outside_the_table():
    """Studies are about single methods and name them."""
    names = {*LABEL_FREE_METHODS, *SPLAT_METHODS, *GRAPH_METHODS, *PRETRAINING_METHODS, "sc_clip"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ("methods", "studies") or place.name == "catalogue.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
                found.add((place.as_posix(), node.value))
    assert found <= OTHER_MEANINGS
    assert "sc_clip" in READ_OUT_METHODS


def test_settings_of_records_within_are_changed_together():
    settings = LABEL_FREE_METHODS["hicl"].presets["rooms"]
    changed = with_changes(settings, {"vote.scope": "view", "vote.fill": False, "levels": ()}, "hicl")
    assert (changed.vote, changed.levels) == (VoteSettings("view", fill=False), ())
    changed = with_changes(settings, {"vote": VoteSettings("view"), "vote.min_agreement": 0.5}, "hicl")
    assert changed.vote == VoteSettings("view", min_agreement=0.5)


@pytest.mark.errors
def test_what_a_record_does_not_have_or_refuses_is_told():
    settings = LABEL_FREE_METHODS["hicl"].presets["rooms"]
    for name in ("vote.colour", "levels.first", "vote.scope.first"):
        with pytest.raises(ConventionError, match=f"settings of hicl: expected any of .*, got {name}"):
            with_changes(settings, {name: 1}, "hicl")
    with pytest.raises(ConventionError, match=r"min_agreement: expected a share in \[0, 1\], got 2"):
        with_changes(settings, {"vote.min_agreement": 2.0}, "hicl")

"""Every setting of every method has an option, and what the option says is what is built."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from types import ModuleType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from scenewise.catalogue import LABEL_FREE_METHODS, READ_OUT_METHODS, SPLAT_METHODS, Overrides, method_recipe
from scenewise.cli.main import COMMANDS, main
from scenewise.commands.method_settings import settings_arguments
from scenewise.commands.reconstruct.planning import recipe_from_options
from scenewise.commands.train.run import overrides_of
from scenewise.methods.distilled_3dgs.config import distilled_config
from scenewise.teachers.read_outs.settings import READ_OUTS, read_out_changed

# Options that every method shares, where they have another name than the setting.
SHARED = {entry.name: f"--{entry.name.replace('_', '-')}" for entry in fields(Overrides)} | {"batch_scans": "--batch"}

# Values that another rule than their type decides.
OF_SPLATS = {"resolution.factors": (4,), "resolution.until": (0.5,), "learning_rates.restart": (0.25, 0.5), "margin": 1.5}


@pytest.fixture
def options_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Any]:
    """What a command line hands to the work, which is not done."""

    def parsed(arguments: list[str]) -> Any:
        seen: list[Any] = []
        work = COMMANDS[arguments[0]].work
        module = ModuleType(work.module)
        setattr(module, work.function, lambda options, progress: seen.append(options))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, work.module, module)
            assert main(arguments) == 0, arguments
        return seen[0]

    return parsed


def leaves(record: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, type, value) of each setting."""
    for name, kind in get_type_hints(type(record)).items():
        value = getattr(record, name)
        if is_dataclass(value):
            yield from leaves(value, f"{place}{name}.")
            if NoneType in get_args(kind):
                yield f"{place}{name}", bool, True
        else:
            yield f"{place}{name}", kind, value


def another(kind: Any, value: Any) -> Any:
    """A value of the type that is not this one."""
    members = [member for member in get_args(kind) if member is not NoneType]
    if get_origin(kind) is Literal:
        return next(choice for choice in members if choice != value)
    if get_origin(kind) is tuple:
        return value[:1] if Ellipsis in members else (0.25, 0.25, 0.5)
    if NoneType in get_args(kind):
        return another(members[0], value if value is not None else members[0]())
    if kind is bool:
        return not value
    return value + 1 if kind is int else value / 2 + 0.125


def at(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings[part]
    return settings


@pytest.mark.parametrize("method", LABEL_FREE_METHODS)
def test_every_setting_of_a_label_free_method_reaches_its_recipe(method: str, options_of: Callable[[list[str]], Any]):
    before = method_recipe(method).config
    wanted = {name: another(kind, value) for name, kind, value in leaves(LABEL_FREE_METHODS[method].presets["scannet"])}
    line = ["train", method, "--data", "a", "--out", "b"]
    own = {name: value for name, value in wanted.items() if name not in SHARED}
    for name in SHARED:
        line += [SHARED[name], str(wanted[name])]
    line += settings_arguments({method: own})
    built = method_recipe(method, overrides=overrides_of(options_of(line))).config
    for name, value in wanted.items():
        assert at(built, name) == json.loads(json.dumps(value)) != at(before, name), name
    plain = options_of(["train", method, "--data", "a", "--out", "b"])
    assert plain.settings == {} and method_recipe(method, overrides=overrides_of(plain)).config == before


@pytest.mark.parametrize("strategy", ["default", "mcmc"])
def test_every_setting_of_gaussian_splatting_reaches_its_recipe(strategy: str, options_of: Callable[[list[str]], Any]):
    line = ["reconstruct", "a", "--out", "b", "--steps", "30000", "--strategy", strategy]
    line += ["--exposure-compensation", "--pose-refinement"]
    plain = options_of(line)
    assert plain.settings == {}
    built = partial(recipe_from_options, data_set=None)
    assert_settings_reach("gaussian_splatting", built(plain), line, built, options_of)


def test_every_setting_of_distilled_3dgs_reaches_its_configuration(options_of: Callable[[list[str]], Any]):
    def built(options: Any) -> Any:
        recipe = recipe_from_options(options, data_set=None)
        return options.changed(distilled_config(options.distillation, recipe, scene="room", data_set=None))

    line = ["reconstruct", "a", "--out", "b", "--method", "distilled_3dgs"]
    assert_settings_reach("distilled_3dgs", built(options_of(line)), line, built, options_of)


def assert_settings_reach(
    method: str, before: Any, line: list[str], built: Callable[[Any], Any], options_of: Callable[[list[str]], Any]
) -> None:
    """All settings but those that another option changes; what is switched off has none within."""
    left_out = SPLAT_METHODS[method].leaves_out
    wanted = {
        name: next((ruled for end, ruled in OF_SPLATS.items() if name.endswith(end)), None) or another(kind, value)
        for name, kind, value in leaves(before)
        if name not in left_out and not any(left[-1] == "." and name.startswith(left) for left in left_out)
    }
    switches = {name: value for name, value in wanted.items() if value is False and is_dataclass(at_attribute(before, name))}
    others = {name: value for name, value in wanted.items() if name not in switches}
    after = built(options_of([*line, *settings_arguments({method: others})]))
    for name, value in others.items():
        assert at_attribute(after, name) == value != at_attribute(before, name), name
    after = built(options_of([*line, *settings_arguments({method: switches})]))
    assert all(at_attribute(after, name) is None for name in switches)


def at_attribute(record: Any, name: str) -> Any:
    for part in name.split("."):
        record = getattr(record, part)
    return record


@pytest.mark.parametrize("command", ["train hicl --data a --out b", "segment a --out b", "eval-2d voc21 a"])
@pytest.mark.parametrize("read_out", [name for name, record in READ_OUT_METHODS.items() if fields(record)])
def test_every_setting_of_a_read_out_reaches_the_teacher(command: str, read_out: str, options_of: Callable[[list[str]], Any]):
    published = READ_OUTS[read_out]
    wanted = {name: another(kind, value) for name, kind, value in leaves(published)}
    line = [*command.split(), "--read-out", read_out]
    plain = options_of(line)
    assert taken(plain) == read_out, "nothing asked, nothing changed"
    options = options_of([*line, *settings_arguments({read_out: wanted})])
    assert taken(options) == replace(published, **wanted)


def taken(options: Any) -> object:
    """The read-out that the teacher is opened with."""
    return read_out_changed(options.teacher_choice.read_out, options.teacher_choice.read_out_settings)


def test_help_of_a_method_shows_its_settings_and_no_other(capsys: pytest.CaptureFixture[str]):
    assert main(["train", "--help"]) == 0
    assert "expert" not in capsys.readouterr().out
    assert main(["train", "hicl", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "expert: hicl options" in shown and "--hicl.levels" in shown and "expert: cns" not in shown
    for name in LABEL_FREE_METHODS["hicl"].options.__dataclass_fields__:
        assert name in SHARED or f"--hicl.{name}".replace("_", "-") in shown, name

"""All methods by name: settings, who builds them, what they need, where they are described.

The one place that knows every method: choices and expert options of commands are derived from these tables, and a new method is
one entry more.  Nothing here imports torch; what builds a method is imported when it is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from scenewise import methods
from scenewise.engine.deferred import Deferred
from scenewise.errors import ConventionError
from scenewise.methods.clip2scene import options as clip2scene
from scenewise.methods.cns import options as cns
from scenewise.methods.condense import options as condense
from scenewise.methods.hicl import options as hicl
from scenewise.methods.union import options as union
from scenewise.methods.vl_sat import options as vl_sat
from scenewise.parts.labelfree.settings import BackboneName, StudentTraining
from scenewise.teachers.read_outs.settings import READ_OUTS

if TYPE_CHECKING:
    from scenewise.parts.labelfree.recipes import Recipe

DEFAULT_PRESET = "scannet"
DEFAULT_SPLAT_METHOD = "gaussian_splatting"
DEFAULT_GRAPH_METHOD = "vl_sat"
DEFAULT_PRETRAINING_METHOD = "condense"

_Settings = TypeVar("_Settings")
_FOLDER = Path(next(iter(methods.__path__)))


@dataclass(frozen=True)
class Needs:
    """What a method reads of pictures unless the options say otherwise.

    Attributes:
        regions: 2D sets of pixels.
        targets: frozen features.
        pictures: for a 2D student.
    """

    regions: str | None = None
    targets: str | None = None
    pictures: bool = False


@dataclass(frozen=True)
class LabelFreeMethod:
    """One way to learn names without labels.

    Attributes:
        options: record of its settings.
        presets: settings by data set: "scannet", "nuscenes", "rooms".
        recipe: settings → composition.
        needs: beside points and a teacher's labels.
        read_out: of the teacher in the method's paper; for vision transformers that somebody else trained.
        readme: what it is, with sources and figures.
    """

    options: type[StudentTraining]
    presets: Mapping[str, Any]
    recipe: Deferred
    needs: Needs
    read_out: str
    readme: Path


@dataclass(frozen=True)
class SplatMethod:
    """One way to reconstruct a scene as Gaussian splats.

    Attributes:
        settings: record of its settings.
        start: what a person asks → the method in the flow of ``scenewise reconstruct``.
        readme: what it is, with sources and figures.
        leaves_out: settings that ``scenewise reconstruct`` has an option for already, or that the method does not have; a name
            that ends with a dot stands for all settings of a record.
        group: record of its own options within those of ``scenewise reconstruct``, or None where it has none.
        refuses: options of ``scenewise reconstruct`` that it does not take.
    """

    settings: Deferred
    start: Deferred
    readme: Path
    leaves_out: tuple[str, ...] = ()
    group: str | None = None
    refuses: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphMethod:
    """One way to learn names and relations of things from labelled scans.

    Attributes:
        options: record of its settings.
        presets: settings by data set: "3rscan", "rooms".
        trainer: settings, data, sentences, seed, device → what learns.
        readme: what it is, with sources and figures.
        leaves_out: settings that the command has an option for already.
    """

    options: type[vl_sat.VlSatConfig]
    presets: Mapping[str, vl_sat.VlSatConfig]
    trainer: Deferred
    readme: Path
    leaves_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PretrainingMethod:
    """One way to learn features of points and pixels from posed pictures alone.

    Attributes:
        options: record of its settings.
        presets: settings by data: "captures", "rooms".
        readme: what it is, with sources and figures.
        leaves_out: settings that the command has an option for already, or that are for comparisons.
    """

    options: type[condense.CondenseConfig]
    presets: Mapping[str, condense.CondenseConfig]
    readme: Path
    leaves_out: tuple[str, ...] = ()


LABEL_FREE_METHODS: Mapping[str, LabelFreeMethod] = MappingProxyType(
    {
        "clip2scene": LabelFreeMethod(
            clip2scene.Clip2SceneConfig,
            clip2scene.PRESETS,
            Deferred("scenewise.methods.clip2scene.compose", "recipe"),
            Needs(targets="teacher"),
            "maskclip",
            _FOLDER / "clip2scene" / "README.md",
        ),
        # The papers of CNS and HICL take SAM's masks and features; these need no weights.
        "cns": LabelFreeMethod(
            cns.CnsConfig,
            cns.PRESETS,
            Deferred("scenewise.methods.cns.compose", "recipe"),
            Needs("slic", "random-convolutions", pictures=True),
            "maskclip",
            _FOLDER / "cns" / "README.md",
        ),
        "hicl": LabelFreeMethod(
            hicl.HiclConfig,
            hicl.PRESETS,
            Deferred("scenewise.methods.hicl.compose", "recipe"),
            Needs(),
            "maskclip",
            _FOLDER / "hicl" / "README.md",
        ),
        "union": LabelFreeMethod(
            union.UnionConfig,
            union.PRESETS,
            Deferred("scenewise.methods.union.compose", "recipe"),
            Needs("slic", "random-convolutions", pictures=True),
            "sc_clip",
            _FOLDER / "union" / "README.md",
        ),
    }
)
"""What ``scenewise train`` trains, by the name of the method's folder."""

_OF_RECIPE = ("steps", "sh.highest", "strategy.max_gaussians", "strategy.absgrad", "exposure", "pose_refinement")

SPLAT_METHODS: Mapping[str, SplatMethod] = MappingProxyType(
    {
        "gaussian_splatting": SplatMethod(
            Deferred("scenewise.parts.splats.recipes", "SplatRecipe"),
            Deferred("scenewise.methods.gaussian_splatting.reconstruction", "start"),
            _FOLDER / "gaussian_splatting" / "README.md",
            leaves_out=_OF_RECIPE,
            refuses=("ray",),
        ),
        "distilled_3dgs": SplatMethod(
            Deferred("scenewise.methods.distilled_3dgs.config", "DistilledConfig"),
            Deferred("scenewise.methods.distilled_3dgs.stages", "start"),
            _FOLDER / "distilled_3dgs" / "README.md",
            leaves_out=(
                *(f"{who}.{setting}" for who in ("teacher", "student") for setting in _OF_RECIPE),
                *(
                    f"{who}.{setting}"
                    for who in ("teacher", "student")
                    for setting in ("views_per_step", "depth", "exposure.", "pose_refinement.", "random_background")
                ),
                *("teachers", "teacher_schedule", "restart_lr", "kd_l1_target", "kd_from", "between", "keep_ratio"),
                *("structure", "structure.hist_kind", "structure.hist_grid", "simplification.keep"),
            ),
            group="distillation",
            refuses=("strategy", "absgrad", "pose_refinement", "exposure_compensation"),
        ),
        "momentum_gs": SplatMethod(
            Deferred("scenewise.methods.momentum_gs.config", "MomentumConfig"),
            Deferred("scenewise.methods.momentum_gs.stages", "start"),
            _FOLDER / "momentum_gs" / "README.md",
            leaves_out=(
                *(
                    f"{model}.{setting}"
                    for model in ("coarse", "block")
                    for setting in ("steps", "exposure", "exposure.", "growth.max_anchors", "max_initial_anchors")
                ),
                *("blocks", "workers", "slot_steps", "order", "shares_decoder", "teacher.momentum", "settling.steps"),
            ),
            group="city",
            refuses=("strategy", "absgrad", "pose_refinement", "minutes", "sh_degree"),
        ),
    }
)
"""What ``scenewise reconstruct`` trains, by the name of the method's folder."""

GRAPH_METHODS: Mapping[str, GraphMethod] = MappingProxyType(
    {
        "vl_sat": GraphMethod(
            vl_sat.VlSatConfig,
            vl_sat.PRESETS,
            Deferred("scenewise.methods.vl_sat.trainer", "VlSatTrainer"),
            _FOLDER / "vl_sat" / "README.md",
            # scenewise train-graph has options for these already.
            leaves_out=("student", "steps", "oracle.text"),
        )
    }
)
"""What ``scenewise train-graph`` trains, by the name of the method's folder."""

PRETRAINING_METHODS: Mapping[str, PretrainingMethod] = MappingProxyType(
    {
        "condense": PretrainingMethod(
            condense.CondenseConfig,
            condense.PRESETS,
            _FOLDER / "condense" / "README.md",
            leaves_out=(
                *("steps", "dim", "width", "voxel", "picture_width", "most_views", "scans_per_step", "views_per_scan"),
                "objective",
            ),
        )
    }
)
"""What ``scenewise pretrain`` trains, by the name of the method's folder."""

READ_OUT_METHODS: Mapping[str, type] = MappingProxyType({name: type(published) for name, published in READ_OUTS.items()})
"""How dense features are read from a 2D teacher: the record of each way's settings, whose defaults are the published ones."""


@dataclass(frozen=True)
class Overrides:
    """What a person may change of any method's settings; None keeps the preset's.

    Attributes:
        epochs: passes over the scans; phases move with it.
        width: multiple of the 3D backbone's channels.
        voxel: edge in metres.
        batch_scans: scans per step over all devices.
        learning_rate: of the students.
        backbone: of the 3D student.
        views_per_step: pictures of each scan in a step.
    """

    epochs: int | None = None
    width: float | None = None
    voxel: float | None = None
    batch_scans: int | None = None
    learning_rate: float | None = None
    backbone: BackboneName | None = None
    views_per_step: int | None = None

    def given(self) -> dict[str, Any]:
        """What is changed, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


_NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})


def method_named(name: str) -> LabelFreeMethod:
    """The method of a name.

    Raises:
        ConventionError: there is none.
    """
    if name not in LABEL_FREE_METHODS:
        raise ConventionError("method", expected=f"one of {', '.join(LABEL_FREE_METHODS)}", got=repr(name))
    return LABEL_FREE_METHODS[name]


def method_recipe(name: str, preset: str = DEFAULT_PRESET, overrides: Overrides | Mapping[str, Any] = _NO_OVERRIDES) -> "Recipe":
    """The composition of a method with the settings for a data set and what was changed of them.

    Args:
        name: of the method.
        preset: of the data set.
        overrides: a record, or any of the method's own settings by name; those of a record within by "record.name".

    Raises:
        ConventionError: unknown method, preset or setting, or a value that a setting cannot have.
    """
    method = method_named(name)
    if preset not in method.presets:
        raise ConventionError("preset", expected=f"one of {', '.join(method.presets)}", got=repr(preset))
    changes = overrides.given() if isinstance(overrides, Overrides) else overrides
    recipe: Recipe = method.recipe(with_changes(method.presets[preset], changes, name))
    return recipe


def with_changes(settings: _Settings, changes: Mapping[str, Any], method: str, place: str = "") -> _Settings:
    """A record of settings with some changed.

    Args:
        settings: the record, a frozen dataclass.
        changes: values by name; those of a record within by "record.name", or the record as a whole.  True and False switch a
            record that may be None on and off.
        method: whose settings, for messages.
        place: of the record in the method's, for messages: "vote.".

    Raises:
        ConventionError: a name that the record does not have, or a value that it refuses.
    """
    record: Any = settings
    kinds = get_type_hints(type(record))
    whole = {name: value for name, value in changes.items() if "." not in name}
    within: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        outer, _, inner = name.partition(".")
        if inner:
            within.setdefault(outer, {})[inner] = value
    unknown = sorted(f"{place}{name}" for name in whole if name not in kinds)
    for name, value in whole.items():
        if isinstance(value, bool) and not unknown and records_in(kinds[name]):
            whole[name] = (getattr(record, name) or records_in(kinds[name])[0]()) if value else None
    for name, inners in within.items():
        inner_record = whole.get(name, getattr(record, name, None))
        if not is_dataclass(inner_record) or isinstance(inner_record, type):
            unknown += [f"{place}{name}.{inner}" for inner in inners]
        else:
            # All of a record at once: what it refuses may depend on several values.
            whole[name] = with_changes(inner_record, inners, method, f"{place}{name}.")
    if unknown:
        known = ", ".join(sorted(f"{place}{name}" for name in kinds))
        raise ConventionError(f"settings of {method}", expected=f"any of {known}", got=", ".join(unknown))
    changed: _Settings = replace(record, **whole)
    return changed


def records_in(kind: Any) -> tuple[type, ...]:
    """Records that a setting may be: one, or one for each variant."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(member for member in members if isinstance(member, type) and is_dataclass(member))

"""The label-free methods by name: what ``scenewise train METHOD`` can train.

Here and not in ``methods``, whose folders do not know each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import scenewise.methods.clip2scene.compose
import scenewise.methods.clip2scene.options
import scenewise.methods.cns.compose
import scenewise.methods.cns.options
import scenewise.methods.hicl.compose
import scenewise.methods.hicl.options
import scenewise.methods.union.compose
import scenewise.methods.union.options
from scenewise.errors import ConventionError
from scenewise.parts.labelfree.recipes import Recipe
from scenewise.parts.labelfree.settings import BackboneName

DEFAULT_PRESET = "scannet"


class LabelFreeMethod(NamedTuple):
    """One way to learn names without labels.

    Attributes:
        config: record of its settings.
        recipe: settings → composition.
        presets: settings by data set: "scannet", "nuscenes", "rooms".
    """

    config: type
    recipe: Callable[[Any], Recipe]
    presets: Mapping[str, Any]


LABEL_FREE_METHODS: dict[str, LabelFreeMethod] = {
    "clip2scene": LabelFreeMethod(
        scenewise.methods.clip2scene.options.Clip2SceneConfig,
        scenewise.methods.clip2scene.compose.recipe,
        scenewise.methods.clip2scene.options.PRESETS,
    ),
    "cns": LabelFreeMethod(
        scenewise.methods.cns.options.CnsConfig,
        scenewise.methods.cns.compose.recipe,
        scenewise.methods.cns.options.PRESETS,
    ),
    "hicl": LabelFreeMethod(
        scenewise.methods.hicl.options.HiclConfig,
        scenewise.methods.hicl.compose.recipe,
        scenewise.methods.hicl.options.PRESETS,
    ),
    "union": LabelFreeMethod(
        scenewise.methods.union.options.UnionConfig,
        scenewise.methods.union.compose.recipe,
        scenewise.methods.union.options.PRESETS,
    ),
}
"""By the name of the method's folder."""


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


_NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})


def method_named(name: str) -> LabelFreeMethod:
    """The method of a name.

    Raises:
        ConventionError: there is none.
    """
    if name not in LABEL_FREE_METHODS:
        raise ConventionError("method", expected=f"one of {', '.join(LABEL_FREE_METHODS)}", got=repr(name))
    return LABEL_FREE_METHODS[name]


def method_recipe(name: str, preset: str = DEFAULT_PRESET, overrides: Overrides | Mapping[str, Any] = _NO_OVERRIDES) -> Recipe:
    """The composition of a method with the settings for a data set and what was changed of them.

    Args:
        name: of the method.
        preset: of the data set.
        overrides: a record, or any of the method's own settings by name.

    Raises:
        ConventionError: unknown method, preset or setting.
    """
    method = method_named(name)
    if preset not in method.presets:
        raise ConventionError("preset", expected=f"one of {', '.join(method.presets)}", got=repr(preset))
    if isinstance(overrides, Overrides):
        overrides = {field.name: getattr(overrides, field.name) for field in fields(overrides)}
        overrides = {key: value for key, value in overrides.items() if value is not None}
    known = {field.name for field in fields(method.config)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ConventionError(f"settings of {name}", expected=f"any of {', '.join(sorted(known))}", got=", ".join(unknown))
    return method.recipe(replace(method.presets[preset], **overrides))

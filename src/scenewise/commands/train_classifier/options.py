"""Options of ``scenewise train-classifier``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

from tyro.conf import arg

from scenewise.catalogue import with_changes
from scenewise.commands.method_settings import MethodSettings, expert_groups, given
from scenewise.commands.shared import Device, require_length, require_resume_or_overwrite
from scenewise.engine.option_values import (
    Count,
    Number,
    OptionalPath,
    Text,
    require,
    require_above_zero,
    require_at_least,
    require_seed,
)
from scenewise.methods.condense.classification.options import PRESETS, ClassifierConfig, Scale
from scenewise.teachers.choice import CONSISTENT, is_consistent

NONE = "none"
_GROUP = "classifier"
_MOST_OBJECTS = 4000
_OWN_OPTIONS = ("frozen", "scale", "voxel", "steps")

_EXPERT = expert_groups({_GROUP: ClassifierConfig}, leave_out={_GROUP: _OWN_OPTIONS})
_Start = Annotated[str, arg(name="from", metavar=f"{NONE}|{CONSISTENT}|{CONSISTENT}:RUN")]
_OptionalScale = Annotated[Scale | None, arg(metavar="{metres,extent}")]


@dataclass(frozen=True)
class TrainClassifierOptions:
    """Train a network that names single objects from their points: from scratch, or beginning with a pre-trained 3D network.

    Attributes:
        out: run folder to write.
        data: folder of ModelNet40 (resampled or meshes) or ScanObjectNN.
        objects: instead of data: so many procedural objects of each class.
        variant: of ScanObjectNN, the end of its files' names, such as augmentedrot_scale75.
        views: procedural objects as seen from 1 or 2 places, or from all around (0).
        start: whose 3D network it begins with: "none" (random weights), "condense" (built in) or "condense:RUN" (a run of
            scenewise pretrain).
        frozen: leave that network as it is and train the head alone (linear probe).
        preset: settings by data: objects or modelnet; default by the data.
        scale: objects as large as they are, in metres, or each scaled to the same extent; default the preset's.
        voxel: edge, in metres or as a share of the extent.
        steps: of training; default the preset's.
        minutes: of training there are, instead of steps: the first steps are timed.
        seed: random seed; the same seed on the same machine gives the same bits.
        save_every: steps between two checkpoints.
        resume: continue from the newest checkpoint in the run folder.
        overwrite: replace a run.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        tensorboard: also write TensorBoard's files to RUN/tensorboard.
        settings: of the classifier, for experts, where no other option changes them.
    """

    out: Path
    data: OptionalPath = None
    objects: Count = None
    variant: Text = None
    views: int = 1
    start: _Start = NONE
    frozen: bool = False
    preset: Text = None
    scale: _OptionalScale = None
    voxel: Number = None
    steps: Count = None
    minutes: Number = None
    seed: int = 0
    save_every: int = 500
    resume: bool = False
    overwrite: bool = False
    threads: Count = None
    device: Device = "auto"
    tensorboard: bool = False
    settings: Annotated[MethodSettings, _EXPERT] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", given(self.settings))
        both = self.data is not None and self.objects is not None
        require(both or self.data is not None or self.objects is not None, "--data or --objects", "one of the two", "none")
        require(not both, "--data and --objects", "one of the two", "both")
        require(self.variant is None or self.data is not None, "--variant", "--data", "--objects")
        require(self.views in (0, 1, 2), "--views", "0, 1 or 2", self.views)
        is_start = self.start.strip() == NONE or is_consistent(self.start)
        require(is_start, "--from", f'"{NONE}", "{CONSISTENT}" or "{CONSISTENT}:RUN"', repr(self.start))
        require(self.preset is None or self.preset in PRESETS, "--preset", f"one of {', '.join(PRESETS)}", repr(self.preset))
        scales = get_args(Scale)
        require(self.scale is None or self.scale in scales, "--scale", f"one of {', '.join(scales)}", repr(self.scale))
        for option, value in (("--objects", self.objects), ("--save-every", self.save_every), ("--threads", self.threads)):
            require_at_least(option, value, 1)
        require(self.objects is None or self.objects <= _MOST_OBJECTS, "--objects", f"at most {_MOST_OBJECTS}", self.objects)
        require_above_zero("--voxel", self.voxel)
        require_length(self.steps, self.minutes)
        require_resume_or_overwrite(self.resume, self.overwrite)
        require_seed(self.seed)

    @property
    def chosen_start(self) -> str | None:
        """Whose backbone; None = random weights."""
        return None if self.start.strip() == NONE else self.start.strip()

    @property
    def chosen_preset(self) -> str:
        """By the data, unless somebody says."""
        return self.preset or ("modelnet" if self.objects is None else "objects")

    @property
    def config(self) -> ClassifierConfig:
        """The settings, a start's backbone apart.

        Raises:
            ConventionError: a value that a setting cannot have.
        """
        own: dict[str, Any] = {name: getattr(self, name) for name in _OWN_OPTIONS if getattr(self, name) is not None}
        return with_changes(PRESETS[self.chosen_preset], {**own, **self.settings.get(_GROUP, {})}, _GROUP)

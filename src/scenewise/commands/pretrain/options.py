"""Options of ``scenewise pretrain``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from scenewise.catalogue import DEFAULT_PRETRAINING_METHOD, PRETRAINING_METHODS, with_changes
from scenewise.commands.method_settings import MethodSettings, expert_groups, given
from scenewise.commands.shared import Device, require_length, require_resume_or_overwrite
from scenewise.engine.option_values import (
    Count,
    Number,
    OptionalPath,
    Text,
    bytes_from_text,
    require,
    require_above_zero,
    require_at_least,
    require_seed,
)
from scenewise.methods.condense.options import CondenseConfig

MOST_ROOMS = 100_000

_EXPERT = expert_groups(
    {name: method.options for name, method in PRETRAINING_METHODS.items()},
    leave_out={name: method.leaves_out for name, method in PRETRAINING_METHODS.items()},
)


@dataclass(frozen=True)
class PretrainOptions:
    """Pre-train a 2D and a 3D network on your own captures so that a pixel and the point it shows have one feature (ConDense).

    No label and no word is needed.  Each eighth picture, or the capture's own test frames, is kept out of the training; figures
    are measured on those.  Scans are prepared one after the other and kept in the cache.
    Several processes: torchrun --nproc-per-node N -m scenewise.cli.main pretrain …

    Attributes:
        sources: captures (COLMAP, transforms.json, RGB-D, ScanNet, CO3D, MVImgNet), scene folders, folders of any of these, or
            manifests: JSON files {"captures": [{"path": "…", "weight": 2.0, "name": "…", "split": "…"}, …]} in which the
            captures below a path share its weight.
        out: run folder to write.
        rooms: learn from so many procedural rooms, for which nothing is needed; beside captures, or alone.
        preset: settings by data: captures or rooms; default by the data.  "scenewise pretrain condense --help" shows all other
            settings of the method as well.
        teacher: frozen 2D model: "small-clip" (built in), or a Hugging Face id or folder of a CLIP, SigLIP or DINOv2 whose tower
            is a transformer; its dense features are what the 2D branch must not forget.
        steps: of training; default the preset's.
        minutes: of training there are, instead of steps: the first steps are timed.
        width: multiple of the 3D network's channels, such as 0.25.
        dim: numbers of a feature.
        voxel: edge of a voxel in metres.
        picture_width: pixels of the pictures that are learned from.
        views: pictures of a scan that are kept at most, held-out ones included, evenly spread.
        views_per_step: pictures of each scan in a step.
        batch: scans in a step over all processes.
        cache: folder of prepared scans; default RUN/cache.
        memory: size of the scans that stay in memory, such as 2GB; others are read again when they are drawn.
        seed: random seed; the same seed on the same machine gives the same bits.
        precision: "bfloat16" rounds the operands of sparse convolutions and computes the frozen tower so, where that is faster.
        save_every: steps between two checkpoints.
        look_every: steps between two looks at held-out pictures; default a tenth of the run.
        resume: continue from the newest checkpoint in the run folder.
        overwrite: replace a run.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        tensorboard: also write TensorBoard's files to RUN/tensorboard.
        settings: of the method, for experts, where no other option changes them.
    """

    sources: Positional[Annotated[tuple[Path, ...], arg(metavar="SOURCE")]]
    out: Path
    rooms: Count = None
    preset: Text = None
    teacher: str = "small-clip"
    steps: Count = None
    minutes: Number = None
    width: Number = None
    dim: Count = None
    voxel: Number = None
    picture_width: Count = None
    views: Count = None
    views_per_step: Count = None
    batch: Count = None
    cache: OptionalPath = None
    memory: str = "2GB"
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    save_every: int = 500
    look_every: Count = None
    resume: bool = False
    overwrite: bool = False
    threads: Count = None
    device: Device = "auto"
    tensorboard: bool = False
    settings: Annotated[MethodSettings, _EXPERT] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", given(self.settings))
        presets = PRETRAINING_METHODS[DEFAULT_PRETRAINING_METHOD].presets
        fix = "name a capture, or leave it to --rooms N"
        require(bool(self.sources) or self.rooms is not None, "SOURCE", "a capture, a folder of them or a manifest", "none", fix)
        require(self.preset is None or self.preset in presets, "--preset", f"one of {', '.join(presets)}", repr(self.preset))
        require(bool(self.teacher.strip()), "--teacher", "small-clip, a Hugging Face id or a folder", repr(self.teacher))
        for option, value in (
            ("--rooms", self.rooms),
            ("--dim", self.dim),
            ("--picture-width", self.picture_width),
            ("--views", self.views),
            ("--views-per-step", self.views_per_step),
            ("--batch", self.batch),
            ("--save-every", self.save_every),
            ("--look-every", self.look_every),
            ("--threads", self.threads),
        ):
            require_at_least(option, value, 1)
        require(self.rooms is None or self.rooms <= MOST_ROOMS, "--rooms", f"at most {MOST_ROOMS:,}", self.rooms)
        require_above_zero("--width", self.width)
        require_above_zero("--voxel", self.voxel)
        require_length(self.steps, self.minutes)
        require_resume_or_overwrite(self.resume, self.overwrite)
        require_seed(self.seed)
        bytes_from_text(self.memory)

    @property
    def chosen_preset(self) -> str:
        """By the data, unless somebody says."""
        return self.preset or ("captures" if self.sources else "rooms")

    @property
    def config(self) -> CondenseConfig:
        """The method's settings.

        Raises:
            ConventionError: a value that a setting cannot have.
        """
        method = PRETRAINING_METHODS[DEFAULT_PRETRAINING_METHOD]
        own = {
            "steps": self.steps,
            "width": self.width,
            "dim": self.dim,
            "voxel": self.voxel,
            "picture_width": self.picture_width,
            "most_views": self.views,
            "views_per_scan": self.views_per_step,
            "scans_per_step": self.batch,
        }
        changes: dict[str, Any] = {
            **{name: value for name, value in own.items() if value is not None},
            **self.settings.get(DEFAULT_PRETRAINING_METHOD, {}),
        }
        return with_changes(method.presets[self.chosen_preset], changes, DEFAULT_PRETRAINING_METHOD)

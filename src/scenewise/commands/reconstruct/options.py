"""Options of ``scenewise reconstruct``."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from tyro.conf import Positional, arg

from scenewise.catalogue import DEFAULT_SPLAT_METHOD, SPLAT_METHODS, with_changes
from scenewise.commands.method_settings import LEAVE_OUT, MethodSettings, expert_groups, given, require_only
from scenewise.commands.shared import (
    Device,
    OptionalAlpha,
    OptionalColor,
    require_alpha,
    require_color,
    require_length,
    require_one_split,
)
from scenewise.engine.option_values import (
    Count,
    Number,
    OptionalPath,
    Text,
    bytes_from_text,
    require,
    require_at_least,
    require_seed,
)
from scenewise.methods.distilled_3dgs.options import DistillationOptions
from scenewise.methods.momentum_gs.options import BlockOptions

if TYPE_CHECKING:
    from scenewise.io.splits import SplitChoice

    SplatMethodName = str
else:
    SplatMethodName = Literal[tuple(SPLAT_METHODS)]  # the choices of --method

_Settings = TypeVar("_Settings")
_OF_METHODS = expert_groups(
    {name: method.settings for name, method in SPLAT_METHODS.items()},
    leave_out={name: method.leaves_out for name, method in SPLAT_METHODS.items()},
)


@dataclass(frozen=True)
class ReconstructOptions:
    """Train Gaussian splats from a capture and write a scene folder.

    Attributes:
        capture: folder with photographs and poses: COLMAP, transforms.json or RGB-D; or photographs or a film without poses,
            which are then found first.
        out: scene folder to write.
        method: how to reconstruct: "gaussian_splatting"; "distilled_3dgs" for few Gaussians that look like many; "momentum_gs" in
            blocks, for scenes larger than one process.
        strategy: how Gaussians are added and removed: "default" densifies by gradient, "mcmc" keeps an exact budget.
        preset: data set preset that fixes image size and split (nerf_synthetic, mipnerf360, tanks_and_temples, deep_blending,
            mill19, urban_scene3d, matrix_city).
        downscale: use the images at 1/N of their size.
        steps: number of optimisation steps; chosen from the capture when neither this nor minutes is given.
        minutes: time to spend on all of it: planned from the speed of the first 50 steps, and once more half-way.
        max_gaussians: never more Gaussians than this in the result; chosen from the capture when not given.
        budget: memory that may be used, such as 2GB; caps the number of Gaussians or refuses before starting.
        sh_degree: highest degree of view-dependent colour, 0 to 3.
        background: colour behind transparent images, three numbers in [0, 1].
        alpha: what transparent pixels of the images are: "mask" leaves them out of everything, "background" learns them as empty
            space.  Default: background where --background is given and for rendered captures (transforms_train.json, or a
            transforms.json of cameras without distortion), mask for all other photographs.
        keep_all_images: hold nothing out: all images train, and nothing says how well other views are shown.
        test_every: hold out every N-th image by name, in place of the capture's own split.
        split_file: names of the images to hold out, one a line; or JSON with "train" and "test", what is in neither left out.
        no_poses: refuse photographs and films that come without poses instead of finding them.
        pose_refinement: also optimise the camera poses.
        exposure_compensation: also optimise a colour transform per training image.
        absgrad: densify by the sum of absolute screen gradients instead of the length of their sum.
        seed: random seed; the same seed on the same machine gives the same bits.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        ray: address of a Ray cluster ("auto" for the one this machine belongs to) that trains the teachers of distilled_3dgs, or
            on which the other --processes of momentum_gs run, each with as many processors as --threads says, or one.
        checkpoint_every: steps between two checkpoints.
        resume: continue from the newest checkpoint in the scene folder.
        overwrite: replace an existing scene folder.
        strict: refuse captures with missing images or other warnings.
        distillation: of method distilled_3dgs.
        city: of method momentum_gs.
        settings: of the method, for experts, where no other option changes them.
    """

    capture: Positional[Path]
    out: Path
    method: SplatMethodName = DEFAULT_SPLAT_METHOD
    strategy: Literal["default", "mcmc"] = "default"
    preset: Text = None
    downscale: Count = None
    steps: Count = None
    minutes: Number = None
    max_gaussians: Count = None
    budget: Text = None
    sh_degree: int = 3
    background: OptionalColor = None
    alpha: OptionalAlpha = None
    keep_all_images: bool = False
    test_every: Count = None
    split_file: OptionalPath = None
    no_poses: bool = False
    pose_refinement: bool = False
    exposure_compensation: bool = False
    absgrad: bool = False
    seed: int = 0
    threads: Count = None
    device: Device = "auto"
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    checkpoint_every: int = 1000
    resume: bool = False
    overwrite: bool = False
    strict: bool = False
    distillation: DistillationOptions = field(default_factory=DistillationOptions)
    city: BlockOptions = field(default_factory=BlockOptions)
    settings: Annotated[MethodSettings, _OF_METHODS] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_at_least("--downscale", self.downscale, 1)
        require_at_least("--max-gaussians", self.max_gaussians, 1)
        require_at_least("--threads", self.threads, 1)
        require_at_least("--checkpoint-every", self.checkpoint_every, 1)
        require_seed(self.seed)
        require_color("--background", self.background)
        require_alpha(self.alpha, self.background)
        require_one_split(self.keep_all_images, self.test_every, self.split_file)
        require(0 <= self.sh_degree <= 3, "--sh-degree", "0, 1, 2 or 3", self.sh_degree)
        require_length(self.steps, self.minutes)
        require(
            not (self.resume and self.overwrite),
            "--resume and --overwrite",
            "one of the two",
            "both",
            "--resume continues the scene folder, --overwrite starts anew",
        )
        if self.budget is not None:
            bytes_from_text(self.budget)
        object.__setattr__(self, "settings", given(self.settings))
        self._check_method()

    def _check_method(self) -> None:
        """What belongs to one method is refused with another."""
        require(self.method in SPLAT_METHODS, "--method", f"one of {', '.join(SPLAT_METHODS)}", repr(self.method))
        for name, method in SPLAT_METHODS.items():
            if name == self.method or method.group is None:
                continue
            group = getattr(self, method.group)
            changed = next((entry for entry in fields(group) if getattr(group, entry.name) != entry.default), None)
            option = "" if changed is None else f"--{changed.name.replace('_', '-')}"
            require(changed is None, option, f"--method {name}", f"--method {self.method}", f"add it, or {LEAVE_OUT}")
        require_only(self.settings, self.method, "--method ", f"add it, or {LEAVE_OUT}")
        for entry in fields(self):
            if entry.name in SPLAT_METHODS[self.method].refuses:
                value = getattr(self, entry.name)
                option = f"--{entry.name.replace('_', '-')}" + ("" if value is True else f" {value}")
                takers = [f"--method {name}" for name, method in SPLAT_METHODS.items() if entry.name not in method.refuses]
                require(value == entry.default, option, " or ".join(takers), f"--method {self.method}", LEAVE_OUT)
        distillation = self.distillation
        dials = [
            option
            for option, value in (
                ("--max-gaussians", self.max_gaussians),
                ("--keep-ratio", distillation.keep_ratio),
                ("--target-size", distillation.target_size),
            )
            if value is not None
        ]
        require(len(dials) <= 1, "size", "one of --max-gaussians, --keep-ratio and --target-size", " and ".join(dials))

    def changed(self, settings: _Settings) -> _Settings:
        """The method's settings with what experts changed; settings of another kind, such as of its parts, as they are."""
        if not isinstance(settings, SPLAT_METHODS[self.method].settings.named()):
            return settings
        return with_changes(settings, self.settings.get(self.method, {}), self.method)

    @property
    def split(self) -> "SplitChoice":
        """Which images are held out."""
        from scenewise.io.splits import SplitChoice

        return SplitChoice(self.keep_all_images, self.test_every, self.split_file)

    @property
    def budget_bytes(self) -> int | None:
        """The memory budget in bytes, or None for no limit."""
        return None if self.budget is None else bytes_from_text(self.budget)

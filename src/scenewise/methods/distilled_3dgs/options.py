"""Options of Distilled-3DGS on a command line; imports no torch."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from scenewise.engine.option_values import Count, Number, OptionalPath, Text, bytes_from_text, require, require_at_least

LEAST_BYTES = {"spz": 1_000, "ply": 6_800}
"""A hundred Gaussians, the fewest that show anything, take more in such a file: 17 numbers of 4 bytes each in a PLY."""


@dataclass(frozen=True)
class DistillationOptions:
    """Method distilled_3dgs: several teachers, one small student.  What is not given is the preset's.

    Attributes:
        keep_ratio: size dial: keep this part of the vanilla teacher's Gaussians; --max-gaussians asks for a number instead.
        target_size: size dial: a file of at most this size, such as 20MB.
        size_of: the file that --target-size is about.
        curve: also train students that keep these parts, and draw quality over size.
        teachers: which teachers: vanilla, noise, dropout; several of a kind as vanilla_2, vanilla_3.
        teacher_steps: optimisation steps of each teacher; default as many as the student's.
        teacher_gaussians: never more Gaussians than this in a teacher, and in the student before it is simplified.
        teachers_from: scene folder whose finished teachers are used again.
        jobs: teachers that are trained at the same time, each in a process of its own.
        only_teacher: train this teacher and stop; its machine only needs to see the scene folder.
        released: settings of the published code instead of the paper's.
        teacher_schedule: when teachers are disturbed: throughout densification (paper) or nine times after it (released).
        kd_l1_target: what the distillation loss compares colours with: the teachers' picture or the photograph (gt, released).
        kd_from: learn from the teachers from the start (paper) or from the simplification on.
        between: learn also from the teachers alone at this many views between the photographs, as a part of their number.
        hist_kind: histogram of the structural term: trilinear, hard (paper) or separable (released); none leaves it out.
        hist_grid: its voxels along each edge.
        views_per_step: photographs per optimisation step (released: 6).
        depth_reg: learn from the capture's measured depth where it has any: on or off.
        restart_lr: raise the learning rate of positions again when the student is simplified: on or off.
    """

    keep_ratio: Number = None
    target_size: Text = None
    size_of: Literal["spz", "ply"] = "spz"
    curve: tuple[float, ...] = ()
    teachers: tuple[str, ...] = ()
    teacher_steps: Count = None
    teacher_gaussians: Count = None
    teachers_from: OptionalPath = None
    jobs: int = 1
    only_teacher: Annotated[str | None, arg(metavar="NAME")] = None
    released: bool = False
    teacher_schedule: Literal["paper", "released"] | None = None
    kd_l1_target: Literal["teacher", "gt"] | None = None
    kd_from: Literal["start", "simplification"] | None = None
    between: Number = None
    hist_kind: Literal["trilinear", "hard", "separable", "none"] | None = None
    hist_grid: Count = None
    views_per_step: Count = None
    depth_reg: Literal["on", "off"] | None = None
    restart_lr: Literal["on", "off"] | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--teacher-steps", self.teacher_steps),
            ("--teacher-gaussians", self.teacher_gaussians),
            ("--jobs", self.jobs),
            ("--hist-grid", self.hist_grid),
            ("--views-per-step", self.views_per_step),
        ):
            require_at_least(option, value, 1)
        for option, ratio in (("--keep-ratio", self.keep_ratio), *(("--curve", part) for part in self.curve)):
            require(ratio is None or 0.0 < ratio <= 1.0, option, "a part in (0, 1]", ratio)
        require(self.between is None or 0.0 <= self.between <= 10.0, "--between", "a number from 0 to 10", self.between)
        for name in (*self.teachers, *(() if self.only_teacher is None else (self.only_teacher,))):
            is_known = re.fullmatch(r"(vanilla|noise|dropout)(_([2-9]|\d\d))?", name) is not None
            require(is_known, "--teachers", "vanilla, noise or dropout, or one of them with a number such as noise_2", name)
        if self.target_size is not None:
            least = LEAST_BYTES[self.size_of]
            expected = f"at least {least:,} bytes, for a hundred Gaussians"
            require(bytes_from_text(self.target_size) >= least, "--target-size", expected, self.target_size, "ask for more")

    @property
    def target_bytes(self) -> int | None:
        """The size asked for in bytes, or None."""
        return None if self.target_size is None else bytes_from_text(self.target_size)

"""Options of ``scenewise train-graph``."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

from tyro.conf import arg

from scenewise.catalogue import DEFAULT_GRAPH_METHOD, GRAPH_METHODS, with_changes
from scenewise.commands.method_settings import MethodSettings, expert_groups, given
from scenewise.commands.shared import Device, require_length, require_resume_or_overwrite
from scenewise.engine.option_values import Count, Number, OptionalPath, Text, require, require_at_least, require_seed
from scenewise.methods.vl_sat.options import StudentName, VlSatConfig

NONE = "none"
_SMALL_TEXT, _HUB_TEXT = "small", "hub:"
_SMALL_TEACHER = "small-clip"
_ROOMS = re.compile(r"rooms:(\d{1,6})")
_MOST_ROOMS = 100_000

_EXPERT = expert_groups(
    {name: method.options for name, method in GRAPH_METHODS.items()},
    leave_out={name: method.leaves_out for name, method in GRAPH_METHODS.items()},
)


@dataclass(frozen=True)
class TrainGraphOptions:
    """Train a network that names things and tells relations between them, from labelled scans; photographs and sentences help it
    while it learns, and it needs neither afterwards (VL-SAT).

    The first run with a teacher shows it the photographs of every thing; later runs find its answers in the cache.

    Attributes:
        data: folder with 3DSSG and the scans of 3RScan, or "rooms:N" for N procedural rooms.
        out: run folder to write.
        student: the network: the paper's own (vl_sat), or another that it can teach; with "--student vl_sat", --help shows the
            method's own settings as well.
        preset: settings by data set: 3rscan or rooms; default by the data.
        teacher: what looks at the photographs: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, or "none":
            the student then learns alone.
        text: what says what a relation means: "small" (built in, knows procedural rooms), "hub:ID" (the text tower of a CLIP) or
            "none"; default small for the built-in teacher, else the teacher's own.
        steps: of training; default the preset's.
        minutes: of training there are, instead of steps: the first steps are timed.
        every: take every n-th photograph of a scan.
        max_points: of each thing that are kept in memory.
        cache: folder of what the teacher saw; default RUN/cache.
        seed: random seed; the same seed on the same machine gives the same bits.
        save_every: steps between two checkpoints.
        resume: continue from the newest checkpoint in the run folder.
        overwrite: replace a run.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        tensorboard: also write TensorBoard's files to RUN/tensorboard.
        settings: of the method, for experts, where no other option changes them.
    """

    data: Annotated[str, arg(metavar="FOLDER|rooms:N")]
    out: Path
    student: StudentName = "vl_sat"
    preset: Text = None
    teacher: str = _SMALL_TEACHER
    text: Text = None
    steps: Count = None
    minutes: Number = None
    every: int = 10
    max_points: int = 1024
    cache: OptionalPath = None
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
        students, presets = get_args(StudentName), GRAPH_METHODS[DEFAULT_GRAPH_METHOD].presets
        require(self.student in students, "--student", f"one of {', '.join(students)}", repr(self.student))
        require(self.preset is None or self.preset in presets, "--preset", f"one of {', '.join(presets)}", repr(self.preset))
        require(bool(self.teacher.strip()), "--teacher", "small-clip, a Hugging Face id, a folder or none", repr(self.teacher))
        is_text = self.text in (None, NONE, _SMALL_TEXT) or self.text.startswith(_HUB_TEXT)
        require(is_text, "--text", f"{_SMALL_TEXT}, {_HUB_TEXT}ID or {NONE}", repr(self.text))
        alone = self.teacher == NONE and self.text not in (None, NONE)
        require(not alone, "--text", "a teacher beside it, as the oracle reads sentences", "--teacher none")
        for option, value in (
            ("--every", self.every),
            ("--max-points", self.max_points),
            ("--save-every", self.save_every),
            ("--threads", self.threads),
        ):
            require_at_least(option, value, 1)
        require_length(self.steps, self.minutes)
        require_resume_or_overwrite(self.resume, self.overwrite)
        require_seed(self.seed)
        if self.data.startswith("rooms:"):
            require(1 <= (self.rooms or 0) <= _MOST_ROOMS, "--data", f"rooms:1 to rooms:{_MOST_ROOMS}", repr(self.data))

    @property
    def rooms(self) -> int | None:
        """How many procedural rooms to learn from; None where the data are a folder."""
        match = _ROOMS.fullmatch(self.data)
        return None if match is None else int(match[1])

    @property
    def chosen_preset(self) -> str:
        """By the data, unless somebody says."""
        return self.preset or ("3rscan" if self.rooms is None else "rooms")

    @property
    def chosen_text(self) -> str:
        """Whose sentences."""
        if self.text is not None:
            return self.text
        if self.teacher == NONE:
            return NONE
        return _SMALL_TEXT if self.teacher == _SMALL_TEACHER else f"{_HUB_TEXT}{self.teacher}"

    @property
    def config(self) -> VlSatConfig:
        """The method's settings.

        Raises:
            ConventionError: a value that a setting cannot have.
        """
        method = GRAPH_METHODS[DEFAULT_GRAPH_METHOD]
        changes: dict[str, Any] = {"student": self.student, **self.settings.get(DEFAULT_GRAPH_METHOD, {})}
        if self.steps is not None:
            changes["steps"] = self.steps
        if self.teacher == NONE:
            changes = {name: value for name, value in changes.items() if not name.startswith("oracle.")} | {"oracle": False}
        elif self.chosen_text == NONE and changes.get("oracle", True):
            changes["oracle.text"] = False
        return with_changes(method.presets[self.chosen_preset], changes, DEFAULT_GRAPH_METHOD)

"""What a splat trainer is told beside what it trains: how, and which run this is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenewise.parts.splats.exposure import ExposureSettings
from scenewise.parts.splats.pose_refinement import PoseRefinementSettings
from scenewise.parts.splats.schedules import ResolutionSchedule, ShSchedule
from scenewise.rendering import Backend


@dataclass(frozen=True)
class TrainerSettings:
    """How a field is trained, whatever the method.

    Attributes:
        steps: optimiser steps.
        sh: when view-dependent colour starts.
        resolution: coarse-to-fine schedule.
        views_per_step: views whose gradients are averaged for one step.
        exposure: learn a colour transform per image, or None.
        pose_refinement: learn a correction per camera, or None.
        random_background: a new background colour each step behind transparent photographs, so that no colour is confused with
            nothing.
        late_views: so many views, the last ones, are left out before the step ``late_from``.
        late_from: see ``late_views``; from the next epoch after it they take part.
        check_every: steps between two checks of everything for NaN, after each of which the state is kept to fall back on.
        backend: splat kernel.
    """

    steps: int = 30_000
    sh: ShSchedule = field(default_factory=ShSchedule)
    resolution: ResolutionSchedule = field(default_factory=ResolutionSchedule)
    views_per_step: int = 1
    exposure: ExposureSettings | None = None
    pose_refinement: PoseRefinementSettings | None = None
    random_background: bool = False
    late_views: int = 0
    late_from: int = 0
    check_every: int = 100
    backend: Backend = "auto"


@dataclass(frozen=True)
class RunIdentity:
    """What makes a run this one and no other.

    Attributes:
        seed: of every random stream.
        config: resolved configuration, stored in checkpoints and compared on resume.
        data_hash: checksum of the data, likewise.
        details: what was found out when it began and whoever goes on has to know; JSON values, stored in checkpoints.
    """

    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

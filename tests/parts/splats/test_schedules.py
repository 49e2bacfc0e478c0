"""Schedules of runs that are turned half-way, and defaults that fit a capture."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.parts.splats.fitting import MOST_GAUSSIANS, MOST_STEPS, fitted, points_of, what_there_is
from scenewise.parts.splats.recipes import FAST, PAPER_30K
from scenewise.parts.splats.schedules import LearningRates, Schedule, ShSchedule
from scenewise.parts.splats.time_model import gaussians_of_time, steps_of_time
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud


class TestTurn:
    def test_what_came_before_stays_and_the_end_is_the_end(self):
        planned, longer = Schedule(1000), Schedule(1000).turned(500, 1500)
        for step in range(501):
            assert longer.progress(step) == planned.progress(step)
            assert ShSchedule(3).degree(step, longer) == ShSchedule(3).degree(step, planned)
        assert longer.progress(1500) == 1.0 and longer.progress(1000) == 0.75
        shorter = planned.turned(500, 700)
        assert shorter.progress(600) == 0.75 and shorter.progress(700) == 1.0

    def test_rates_fall_without_a_jump(self):
        schedule, rates = Schedule(1000).turned(500, 1500), LearningRates()
        values = [rates.means_at(schedule.progress(step), 1.0) for step in range(1501)]
        assert all(a > b for a, b in pairwise(values))
        assert max(a / b for a, b in pairwise(values)) < 1.01

    def test_steps_of_the_paper_move_with_what_is_left(self):
        schedule = Schedule(3000).turned(1500, 4500)
        assert schedule.step(15_000) == 1500 and schedule.step(3_000) == 300
        assert schedule.step(22_500) == 3000 and schedule.step(30_000) == 4500
        assert schedule.interval(100) == 10

    @pytest.mark.errors
    def test_a_run_turns_once_and_inside(self):
        once = Schedule(1000).turned(500, 1500)
        with pytest.raises(ConventionError, match="not changed before"):
            once.turned(600, 700)
        for step, total in ((0, 700), (500, 500), (1000, 1200)):
            with pytest.raises(ConventionError, match="inside the run"):
                Schedule(1000).turned(step, total)


def capture_of(frames: int, width: int, height: int, points: int) -> Capture:
    K = torch.tensor([[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    camera = Cameras(torch.eye(4, dtype=torch.float64), K, width, height)
    listed = tuple(Frame(f"{i:04d}", camera, lambda: np.zeros((height, width, 3), np.uint8)) for i in range(frames))
    cloud = PointCloud(np.zeros((points, 3))) if points else None
    return Capture(Path("/made"), "colmap", listed, points=cloud)


class TestFitted:
    def test_a_collection_of_many_photographs_gets_what_it_asks_for(self):
        recipe = fitted(FAST, capture_of(253, 800, 533, 0).frames, 97_732)
        assert recipe.strategy.max_gaussians == 195_464
        assert recipe.max_initial_points == 97_732
        assert 4_500 <= recipe.steps <= 5_060  # what eight minutes allow of thirty looks at each

    def test_small_captures_keep_the_preset(self):
        for frames, points in ((43, 0), (100, 0), (18, 3_745)):
            assert fitted(FAST, capture_of(frames, 400, 400, 0).frames, points) == FAST

    def test_there_is_an_end_to_it(self):
        recipe = fitted(FAST, capture_of(5_000, 320, 240, 0).frames, 5_000_000)
        assert recipe.strategy.max_gaussians == MOST_GAUSSIANS and recipe.steps <= MOST_STEPS
        assert recipe.max_initial_points == MOST_GAUSSIANS // 2

    def test_few_minutes_mean_few_gaussians(self):
        frames = capture_of(253, 800, 533, 0).frames
        caps = [fitted(FAST, frames, 97_732, minutes).strategy.max_gaussians for minutes in (0.1, 3.0, 4.0, 60.0)]
        assert caps[0] == 60_000 < caps[1] < caps[2] < caps[3] == 195_464

    def test_a_recipe_without_cap_stays_without(self):
        assert fitted(PAPER_30K, capture_of(9, 80, 53, 0).frames, 1_000) == PAPER_30K

    def test_points_at_no_place_do_not_count(self):
        capture = capture_of(3, 8, 6, 10)
        capture.points.points_in_world[4, 1] = np.nan
        assert points_of(capture) == 9
        assert what_there_is(capture) == "3 training photographs of 8×6 and 9 points"
        assert what_there_is(replace(capture, points=None)) == "3 training photographs of 8×6"

    def test_depth_stands_for_points(self):
        """The kitchen of the benchmarks at half size: 150,000 Gaussians, of which half are there at first."""
        capture = capture_of(175, 320, 240, 0)
        measured = tuple(replace(frame, load_depth=lambda: np.ones((240, 320), np.float32)) for frame in capture.frames)
        capture = replace(capture, frames=measured)
        assert points_of(capture) == 74_666
        assert what_there_is(capture) == "175 training photographs of 320×240 with depth"
        recipe = fitted(FAST, capture.frames, points_of(capture))
        assert (recipe.strategy.max_gaussians, recipe.max_initial_points) == (149_332, 74_666)
        half = replace(capture, frames=(*measured[:87], *capture_of(175, 320, 240, 0).frames[87:]))
        assert points_of(half) == 37_120  # views without depth show nothing of it
        assert points_of(replace(capture, points=PointCloud(np.zeros((9, 3))))) == 9

    def test_time_and_gaussians_are_each_others_inverse(self):
        steps = steps_of_time(480.0, 426_400.0, 146_000.0)
        assert gaussians_of_time(480.0, 426_400.0, steps) == pytest.approx(146_000, rel=1e-3)
        assert gaussians_of_time(1.0, 426_400.0, 5_000) == 0.0

"""How long a step takes, as far as it must be known to carry measured times over to other pictures, Gaussians and colours."""

from dataclasses import dataclass

from scenewise.parts.splats.schedules import ResolutionSchedule, Schedule, ShSchedule

STEP_COST, PIXEL_COST, GAUSSIAN_COST, SH_DEGREE_COST = 1500.0, 0.039, 0.146, 0.035
"""What a step, a pixel, a Gaussian, and each further degree of its colour cost, in µs on the machine of the benchmarks with two
threads.  Only their ratios are used, to carry measured times over to other numbers."""

_STEP_SECONDS, _PIXEL_SECONDS, _GAUSSIAN_SECONDS = 1.5e-3, 3.0e-8, 5.8e-7
"""Seconds of a mean step of a whole run, of each full-size pixel, and of each of the mean number of Gaussians with colour of
degree 3, on two cores of 2.4 GHz with AVX2.  Measured on two whole runs over 253 photographs of 800×533: 3,000 steps with a cap
of 60,000 took 116 s, 7,000 with one of 250,000 took 845 s."""


def steps_of_time(seconds: float, pixels: float, gaussians: float) -> int:
    """How many steps of a run take this long on two cores, by the costs above.

    Args:
        seconds: of training.
        pixels: of a photograph.
        gaussians: in the mean of the run.
    """
    return int(seconds / (_STEP_SECONDS + _PIXEL_SECONDS * pixels + _GAUSSIAN_SECONDS * gaussians))


def gaussians_of_time(seconds: float, pixels: float, steps: int) -> float:
    """How many Gaussians in the mean of a run let so many steps fit into this time: the inverse of :func:`steps_of_time`."""
    return max(0.0, (seconds / steps - _STEP_SECONDS - _PIXEL_SECONDS * pixels) / _GAUSSIAN_SECONDS)


@dataclass(frozen=True)
class TimeModel:
    """The costs of a run.

    Attributes:
        pixels: of a photograph, on average.
        schedule: length of the run.
        resolution: coarse-to-fine schedule.
        sh: when view-dependent colour starts.
    """

    pixels: float
    schedule: Schedule
    resolution: ResolutionSchedule
    sh: ShSchedule

    def slowdown(self, rows: int, mean_rows: float) -> float:
        """Time of the run's mean step over that of the first ones: C(mean) / C(first), with C the sum of the costs above.

        The mean step takes longer (more Gaussians, more colour) or shorter (coarse images) than the first ones.

        Args:
            rows: Gaussians at first.
            mean_rows: Gaussians in the course of the run.
        """
        at = [(i + 0.5) / 100 for i in range(100)]
        mean_share = sum(self.resolution.factor(progress) ** -2.0 for progress in at) / len(at)
        degrees = [self.sh.degree(int(progress * self.schedule.total_steps), self.schedule) for progress in at]
        mean = (
            STEP_COST
            + PIXEL_COST * self.pixels * mean_share
            + (GAUSSIAN_COST + SH_DEGREE_COST * sum(degrees) / len(degrees)) * mean_rows
        )
        first = STEP_COST + PIXEL_COST * self.pixels * self.resolution.factor(0.0) ** -2.0 + GAUSSIAN_COST * rows
        return mean / first

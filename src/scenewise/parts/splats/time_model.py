"""How long a step takes, as far as it must be known to carry measured times over to other pictures, Gaussians and colours."""

from dataclasses import dataclass

from scenewise.parts.splats.schedules import ResolutionSchedule, Schedule, ShSchedule

STEP_COST, PIXEL_COST, GAUSSIAN_COST, SH_DEGREE_COST = 1500.0, 0.039, 0.146, 0.035
"""What a step, a pixel, a Gaussian, and each further degree of its colour cost, in µs on the machine of the benchmarks with two
threads.  Only their ratios are used, to carry measured times over to other numbers."""


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

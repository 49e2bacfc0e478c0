"""What changes in the course of a run, as pure functions of the step: nothing here has state, so nothing here can be lost.

Published settings assume 30,000 steps.  :class:`Schedule` translates "step 15,000 of the paper" into a step of a shorter run,
so that a run of 1,500 steps also densifies, raises the degree of its colours and cools down.
"""

import math
from dataclasses import dataclass

from scenewise.errors import ConventionError

PAPER_STEPS = 30_000
"""Length of training in Kerbl et al. 2023 (arXiv 2308.04079, section 7) and in all methods derived from it."""


@dataclass(frozen=True)
class Schedule:
    """Translates steps of the paper's run into steps of this one.

    Attributes:
        total_steps: length of this run.
        paper_steps: length of the run that settings are written for.
        turn: (step, planned length): from that step on the rest of the run was made longer or shorter than planned, to meet a
            given time.  What came before stays as it was.
    """

    total_steps: int
    paper_steps: int = PAPER_STEPS
    turn: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.total_steps < 1 or self.paper_steps < 1:
            raise ConventionError("steps", expected="at least 1", got=min(self.total_steps, self.paper_steps))
        if self.turn is not None and not 0 < self.turn[0] < min(self.turn[1], self.total_steps):
            raise ConventionError("turn of a schedule", expected="a step inside the run, planned and real", got=self.turn)

    def turned(self, step: int, total_steps: int) -> "Schedule":
        """The same up to ``step``; what is left stretches or shrinks so that the run ends after ``total_steps``.

        Raises:
            ConventionError: the run was turned before, or ends by then.
        """
        if self.turn is not None:
            raise ConventionError("schedule", expected="one that was not changed before", got=f"a turn at step {self.turn[0]}")
        return Schedule(total_steps, self.paper_steps, (step, self.total_steps))

    @property
    def planned_steps(self) -> int:
        """Length before any turn."""
        return self.total_steps if self.turn is None else self.turn[1]

    @property
    def shortening(self) -> float:
        """Planned length of this run over the paper's, at most 1: longer runs keep the paper's steps."""
        return min(1.0, self.planned_steps / self.paper_steps)

    def step(self, paper_step: int) -> int:
        """The step of this run that corresponds to a step of the paper's."""
        planned = paper_step * self.shortening
        if self.turn is None or planned <= self.turn[0]:
            return round(planned)
        at, length = self.turn
        return round(at + (planned - at) * (self.total_steps - at) / (length - at))

    def interval(self, paper_interval: int, smallest: int = 1) -> int:
        """An interval of this run; never below ``smallest`` (or the paper's own, if that is smaller still)."""
        return max(min(smallest, paper_interval), self.step(paper_interval), 1)

    def progress(self, step: int) -> float:
        """Fraction of the run that is over, 0 … 1; after a turn what is left runs faster or slower."""
        as_planned = float(step)
        if self.turn is not None and step > self.turn[0]:
            at, length = self.turn
            as_planned = at + (step - at) * (length - at) / (self.total_steps - at)
        return min(1.0, max(0.0, as_planned / self.planned_steps))


def exponential(start: float, end: float, progress: float) -> float:
    """Log-linear interpolation between two positive values.  Source: Kerbl et al. 2023, section 7.1 (position learning rate)."""
    return math.exp((1.0 - progress) * math.log(start) + progress * math.log(end))


@dataclass(frozen=True)
class LearningRates:
    """Adam's learning rates.

    Source: released settings of Kerbl et al. 2023.  ``means`` is in units of the scene extent and decays log-linearly to
    ``means_end``; the others are constant.  The first release used 0.05 for opacities.

    ``restart`` = (at, back): when that fraction of the run is over, the positions' rate goes back to what it was at the fraction
    ``back`` and decays from there to the end; Fang & Wang 2024 (Mini-Splatting) restart it after simplification.
    """

    means: float = 1.6e-4
    means_end: float = 1.6e-6
    sh0: float = 2.5e-3
    shN: float = 1.25e-4
    opacities: float = 2.5e-2
    scales: float = 5e-3
    quats: float = 1e-3
    restart: tuple[float, float] | None = None

    def means_at(self, progress: float, scene_extent: float) -> float:
        """Learning rate of the positions in world units."""
        if self.restart is not None and progress >= self.restart[0]:
            at, back = self.restart
            progress = back + (progress - at) / (1.0 - at) * (1.0 - back)
        return exponential(self.means, self.means_end, progress) * scene_extent


@dataclass(frozen=True)
class ShSchedule:
    """Degree of view-dependent colour over time: 0 at first, one more every ``every`` paper steps.

    Source: Kerbl et al. 2023, section 7.1.
    """

    highest: int = 3
    every: int = 1000

    def degree(self, step: int, schedule: Schedule) -> int:
        """Active degree before step ``step`` (counted from 0)."""
        return min(self.highest, step // schedule.interval(self.every))


@dataclass(frozen=True)
class ResolutionSchedule:
    """Coarse to fine: train at 1/``factors[i]`` of the image size until ``until[i]`` of the run is over, then at full size.

    Not in the paper.  Early steps move Gaussians by more than a fine pixel, so a quarter of the pixels teaches almost as much;
    on a CPU, where pixels are what costs, that saves most of their time.

    Attributes:
        factors: falling integers above 1; empty for full size throughout.
        until: rising fractions of the run, one per factor.
    """

    factors: tuple[int, ...] = ()
    until: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.factors, self.factors[1:])) and all(factor > 1 for factor in self.factors)
        rising = all(a < b for a, b in zip(self.until, self.until[1:])) and all(0.0 < fraction < 1.0 for fraction in self.until)
        if len(self.factors) != len(self.until) or not falling or not rising:
            raise ConventionError(
                "resolution schedule",
                expected="falling factors above 1 with as many rising fractions in (0, 1)",
                got=f"{self.factors} until {self.until}",
            )

    def factor(self, progress: float) -> int:
        """How many times smaller the images are at this point of the run."""
        for factor, until in zip(self.factors, self.until):
            if progress < until:
                return factor
        return 1

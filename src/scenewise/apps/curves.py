"""Line charts as inline SVG: no scripts, no fonts, colours from the page's style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 34
_MAX_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a run.

    Attributes:
        title: what is drawn, with its unit.
        steps: horizontal positions.
        values: vertical positions; those that are not finite are left out.
        logarithmic: draw the logarithm (values above 0 only).
        across: what the horizontal axis shows.
    """

    title: str
    steps: Sequence[float | int]
    values: Sequence[float | int | None]
    logarithmic: bool = False
    across: str = "step"

    def points(self) -> list[tuple[float, float]]:
        """Drawable points in order, at most a few hundred: the mean of each run of neighbours."""
        pairs = [
            (float(step), float(value))
            for step, value in zip(self.steps, self.values)
            if value is not None and math.isfinite(value) and math.isfinite(step) and (value > 0 or not self.logarithmic)
        ]
        size = math.ceil(len(pairs) / _MAX_POINTS) if pairs else 1
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        return [(chunk[-1][0], sum(value for _, value in chunk) / len(chunk)) for chunk in chunks]


def chart_svg(curve: Curve) -> str:
    """The chart as an ``<svg>`` element, or a sentence where there is nothing to draw."""
    points = curve.points()
    if len(points) < 2:
        return f'<p class="muted">{escape(curve.title)}: too few values to draw</p>'
    scale: Callable[[float], float] = math.log10 if curve.logarithmic else float
    xs, ys = [step for step, _ in points], [scale(value) for _, value in points]
    x_low, x_high = min(0.0, xs[0]), xs[-1] if xs[-1] > min(0.0, xs[0]) else xs[0] + 1.0
    margin = 0.05 * (max(ys) - min(ys)) or abs(ys[0]) * 0.05 or 1.0
    y_low, y_high = min(ys) - margin, max(ys) + margin

    def across(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(curve.title, quote=True)}">']
    for y in _log_ticks(y_low, y_high) if curve.logarithmic else _ticks(y_low, y_high, 5):
        label = _number(10**y if curve.logarithmic else y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{label}</text>')
    for x in _ticks(x_low, x_high, 5):
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(x)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM}"/>')
    parts.append(f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(curve.across)}</text>')
    path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(xs, ys))
    parts.append(f'<polyline class="curve" points="{path}"/>')
    if len(points) <= 25:
        parts.extend(f'<circle class="dot" cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.5"/>' for x, y in zip(xs, ys))
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers in [low, high], about ``count`` of them."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2, 5, 10, 20 … within [low, high]; of powers of ten alone where those would crowd."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    marks = [decade + math.log10(factor) for decade in decades for factor in factors]
    inside = [mark for mark in marks if low <= mark <= high]
    return inside if len(inside) >= 2 else _ticks(low, high, 4)


def _number(value: float) -> str:
    """A short tick label: 0, 0.05, 12, 3.5k, 2M."""
    size = abs(value)
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}" if size > 1e-12 else "0"

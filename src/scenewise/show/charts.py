"""Line charts as SVG: one curve inline with colours from the page's style sheet, or several in a file of its own.

No scripts, no fonts, nothing is loaded.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from scenewise.errors import ConventionError
from scenewise.scenes.sections import Curve

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 34
_MAX_POINTS = 400
_COLORS = ("#1f77b4", "#d95f02", "#2a9d5c", "#b0398b", "#7a6a00", "#5b5b5b")
_LEGEND_ROW, _LEGEND_COLUMN = 17, 210
_FILE_STYLE = (
    "text { font: 11px sans-serif; fill: #333 } .grid { stroke: #ddd } .axis { stroke: #888 } "
    ".curve { fill: none; stroke-width: 1.8; stroke-linejoin: round } .level { stroke-dasharray: 5 4; stroke-width: 1.4 }"
)


def drawable_points(curve: Curve) -> list[tuple[float, float]]:
    """Points of a curve that can be drawn, in order, at most a few hundred: the mean of each run of neighbours."""
    pairs = [
        (float(step), float(value))
        for step, value in zip(curve.steps, curve.values)
        if value is not None and math.isfinite(value) and math.isfinite(step) and (value > 0 or not curve.logarithmic)
    ]
    size = math.ceil(len(pairs) / _MAX_POINTS) if pairs else 1
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [(chunk[-1][0], sum(value for _, value in chunk) / len(chunk)) for chunk in chunks]


def chart_svg(curve: Curve) -> str:
    """The chart as an ``<svg>`` element, or a sentence where there is nothing to draw."""
    points = drawable_points(curve)
    if len(points) < 2:
        return f'<p class="muted">{escape(curve.title)}: too few values to draw</p>'
    scale: Callable[[float], float] = math.log10 if curve.logarithmic else float
    xs, ys = [step for step, _ in points], [scale(value) for _, value in points]
    axes = _axes_around(xs, ys)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(curve.title, quote=True)}">']
    parts += axes.drawn(curve.across, logarithmic=curve.logarithmic)
    parts.append(f'<polyline class="curve" points="{axes.path(xs, ys)}"/>')
    if len(points) <= 25:
        parts.extend(f'<circle class="dot" cx="{axes.across(x):.1f}" cy="{axes.down(y):.1f}" r="2.5"/>' for x, y in zip(xs, ys))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class Line:
    """One of several lines in a chart.

    Attributes:
        name: in the legend.
        xs: horizontal positions in order; empty for a level, drawn dashed from side to side.
        ys: vertical positions, the mean over seeds; of a level one.
        spread: ± of each, or empty.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    spread: Sequence[float] = ()


def lines_svg(title: str, lines: Sequence[Line], *, across: str) -> str:
    """Several lines in one SVG file that brings its own style, on white, with a legend below.

    Args:
        title: what is drawn, with its unit.
        lines: at most six.
        across: what the horizontal axis shows.
    """
    if len(lines) > len(_COLORS):
        raise ConventionError("lines", expected=f"at most {len(_COLORS)}", got=len(lines))
    axes = _axes_around(
        [x for line in lines for x in line.xs],
        [y + sign * d for line in lines for y, d in zip(line.ys, line.spread or [0.0] * len(line.ys)) for sign in (-1, 1)],
    )
    per_row = WIDTH // _LEGEND_COLUMN
    height = HEIGHT + 10 + _LEGEND_ROW * math.ceil(len(lines) / per_row)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height + 20}" viewBox="0 -20 {WIDTH} {height + 20}" '
        f'role="img" aria-label="{escape(title, quote=True)}"><style>{_FILE_STYLE}</style>',
        f'<rect y="-20" width="{WIDTH}" height="{height + 20}" fill="#fff"/><text x="8" y="-5">{escape(title)}</text>',
        *axes.drawn(across),
    ]
    for index, (line, color) in enumerate(zip(lines, _COLORS)):
        if line.xs:
            parts.append(f'<polyline class="curve" stroke="{color}" points="{axes.path(line.xs, line.ys)}"/>')
        else:
            y = axes.down(line.ys[0])
            parts.append(f'<line class="level" stroke="{color}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for x, y, spread in zip(line.xs, line.ys, line.spread or [0.0] * len(line.xs)):
            at, low, high = axes.across(x), axes.down(y - spread), axes.down(y + spread)
            parts.append(f'<line stroke="{color}" x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
            parts.append(f'<circle fill="{color}" cx="{at:.1f}" cy="{axes.down(y):.1f}" r="2.5"/>')
        left, top = 10 + _LEGEND_COLUMN * (index % per_row), HEIGHT + 14 + _LEGEND_ROW * (index // per_row)
        kind = "curve" if line.xs else "level"
        parts.append(f'<line class="{kind}" stroke="{color}" x1="{left}" x2="{left + 22}" y1="{top - 4}" y2="{top - 4}"/>')
        parts.append(f'<text x="{left + 28}" y="{top}">{escape(line.name)}</text>')
    return "".join([*parts, "</svg>\n"])


@dataclass(frozen=True)
class _Axes:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def across(self, x: float) -> float:
        return _LEFT + (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT)

    def down(self, y: float) -> float:
        return HEIGHT - _BOTTOM - (y - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - _TOP - _BOTTOM)

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(f"{self.across(x):.1f},{self.down(y):.1f}" for x, y in zip(xs, ys))

    def drawn(self, label: str, *, logarithmic: bool = False) -> list[str]:
        parts = []
        for y in _log_ticks(self.y_low, self.y_high) if logarithmic else _ticks(self.y_low, self.y_high, 5):
            at, text = self.down(y), _number(10**y if logarithmic else y)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
        bottom = HEIGHT - _BOTTOM
        for x in _ticks(self.x_low, self.x_high, 5):
            parts.append(f'<text x="{self.across(x):.1f}" y="{bottom + 16}" text-anchor="middle">{_number(x)}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(label)}</text>')
        return parts


def _axes_around(xs: Sequence[float], ys: Sequence[float]) -> _Axes:
    """From 0, or what lies below it, to the right end, with a margin above and below."""
    x_low, x_end = min(0.0, *xs), max(xs)
    margin = 0.05 * (max(ys) - min(ys)) or abs(ys[0]) * 0.05 or 1.0
    return _Axes(x_low, x_end if x_end > x_low else x_end + 1.0, min(ys) - margin, max(ys) + margin)


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

"""Charts: true to their values, and drawn whatever these are."""

import math
from xml.etree import ElementTree

import pytest

from scenewise.errors import ConventionError
from scenewise.scenes.sections import Curve
from scenewise.show.charts import WIDTH, Line, chart_svg, drawable_points, lines_svg


def test_the_curve_passes_through_its_values():
    svg = ElementTree.fromstring(chart_svg(Curve("x", [0, 10, 40], [1.0, 3.0, 2.0])))
    polyline = next(svg.iter("polyline")).attrib["points"]
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in polyline.split())
    assert (x1 - x0) * 3 == pytest.approx(x2 - x1, abs=0.3)  # 10 steps, then 30
    assert y1 < y2 < y0  # up is smaller in SVG: 3 above 2 above 1
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.3)
    assert x2 <= WIDTH


def test_several_lines_share_their_axes_and_levels_go_from_side_to_side():
    lines = [
        Line("a <b>", [10.0, 30.0], [1.0, 3.0], [0.5, 0.0]),
        Line("c", [10.0, 30.0], [2.0, 3.0]),
        Line("ceiling", [], [4.0]),
    ]
    svg = ElementTree.fromstring(lines_svg("dB", lines, across="count"))
    name = "{http://www.w3.org/2000/svg}"
    first, second = (
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in svg.iter(f"{name}polyline")
    )
    assert first[0][0] == second[0][0] and first[1] == second[1] and first[0][1] > second[0][1]
    drawn = list(svg.iter(f"{name}line"))
    level = next(line for line in drawn if line.get("class") == "level")
    unit = first[0][1] - second[0][1]
    assert float(level.attrib["y1"]) == pytest.approx(first[1][1] - unit, abs=0.3)
    assert float(level.attrib["x2"]) - float(level.attrib["x1"]) > WIDTH / 2
    bar = next(line for line in drawn if line.get("class") is None)
    assert float(bar.attrib["y1"]) - float(bar.attrib["y2"]) == pytest.approx(unit, abs=0.3)  # ± 0.5
    assert {"a <b>", "c", "ceiling"} <= {text.text for text in svg.iter(f"{name}text")}
    with pytest.raises(ConventionError, match="at most 6"):
        lines_svg("x", [Line("y", [0.0, 1.0], [0.0, 1.0])] * 7, across="z")


def test_a_logarithmic_curve_spaces_factors_evenly_and_drops_what_it_cannot_draw():
    curve = Curve("x", [0, 1, 2, 3, 4], [1.0, 0.1, 0.01, 0.0, math.nan], logarithmic=True)
    svg = ElementTree.fromstring(chart_svg(curve))
    heights = [float(pair.split(",")[1]) for pair in next(svg.iter("polyline")).attrib["points"].split()]
    assert len(heights) == 3 and heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.3)


def test_long_curves_are_thinned_and_empty_ones_say_so():
    assert len(drawable_points(Curve("x", range(70_000), [float(value) for value in range(70_000)]))) <= 400
    assert "too few values" in chart_svg(Curve("x", [1], [1.0]))
    assert "too few values" in chart_svg(Curve("x", [1, 2], [None, None]))


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [-1e-9, 1e9], [1e-12, 2e-12]])
def test_odd_ranges_still_draw(values):
    ElementTree.fromstring(chart_svg(Curve("x", [3, 9], values)))

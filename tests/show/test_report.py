"""The report page: complete, harmless, and true to its numbers."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from scenewise.errors import ConventionError
from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.show.curves import WIDTH, Curve, Line, chart_svg, lines_svg
from scenewise.show.pictures import depth_picture, error_picture, thumbnail
from scenewise.show.report.page import ReportContent, ViewComparison, report_html

GREY = np.full((6, 8, 3), 128, dtype=np.uint8)


def test_an_empty_report_is_a_page():
    page = report_html(ReportContent(title="empty"))
    assert page.startswith("<!DOCTYPE html>") and "<h1>empty</h1>" in page and "<section>" not in page


def test_the_page_asks_for_nothing_and_runs_nothing():
    hostile = '<img src="http://evil.example/x"><script>alert(1)</script>" onload="x'
    page = report_html(
        ReportContent(
            title=hostile,
            subtitle=hostile,
            tiles={hostile: hostile},
            views=[ViewComparison(hostile, GREY, GREY, {hostile: 1.0})],
            curves=[Curve(hostile, [0, 1], [1.0, 2.0])],
            images=[{hostile: hostile}],
            timings={hostile: 1.0},
            warnings=[hostile],
            card={hostile: {hostile: [hostile]}},
            provenance={hostile: hostile},
        )
    )

    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, dict[str, str | None]]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.append((tag, dict(attrs)))

    parser = Tags()
    parser.feed(page)
    assert "script" not in {tag for tag, _ in parser.seen} and "link" not in {tag for tag, _ in parser.seen}
    for tag, attributes in parser.seen:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "url(" not in page and "@import" not in page


def test_a_triplet_shows_photograph_render_and_error():
    render = GREY.copy()
    render[:3] = 0  # the upper half is wrong by half the range of a byte, more than the brightest error
    page = report_html(ReportContent(title="x", views=[ViewComparison("a.jpg", GREY, render, {"PSNR": 9.03, "LPIPS": None})]))
    urls = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    truth, shown, error = (np.asarray(Image.open(io.BytesIO(base64.b64decode(url)))) for url in urls)
    assert abs(float(truth.mean()) - 128) < 2 and shown[:2].mean() < 12 and shown[4:].mean() > 116
    assert error[0].mean() > 3 * error[-1].mean()
    assert "PSNR 9.03" in page and "LPIPS" not in page


def test_figures_of_every_image_are_in_the_table_and_missing_ones_are_dashes():
    page = report_html(
        ReportContent(title="x", images=[{"image": "a", "psnr": 31.256, "lpips": None}, {"image": "b", "psnr": None}])
    )
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells == ["a", "31.26", "b", "–"]  # no column for what nobody measured


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
    assert len(Curve("x", range(70_000), [float(value) for value in range(70_000)]).points()) <= 400
    assert "too few values" in chart_svg(Curve("x", [1], [1.0]))
    assert "too few values" in chart_svg(Curve("x", [1, 2], [None, None]))


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [-1e-9, 1e9], [1e-12, 2e-12]])
def test_odd_ranges_still_draw(values):
    ElementTree.fromstring(chart_svg(Curve("x", [3, 9], values)))


def test_pictures_round_clamp_and_keep_size():
    color = np.array([[[-1.0, 0.5, 2.0], [np.nan, 1.0, 0.001]]])
    assert image_u8_from_color(color).tolist() == [[[0, 128, 255], [0, 255, 0]]]
    assert thumbnail(np.zeros((100, 50, 3), np.uint8), 20).shape == (20, 10, 3)
    assert thumbnail(GREY, 20) is GREY
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(GREY)))), GREY)


def test_brighter_means_a_larger_error_and_a_smaller_depth():
    error = error_picture(np.zeros((1, 3, 3), np.uint8), np.array([[[0] * 3, [20] * 3, [60] * 3]], np.uint8)).sum(axis=2)[0]
    assert error[0] < error[1] < error[2]
    depth = depth_picture(np.array([[1.0, 2.0, 8.0, 0.0]]), near=1.0, far=8.0).astype(int).sum(axis=2)[0]
    assert depth[0] > depth[1] > depth[2] > depth[3] == 0

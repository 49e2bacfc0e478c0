"""The page of a report as a person sees it: complete, harmless, and true to its sections."""

from typing import get_args

import numpy as np
from tests.support.seen_page import SeenPage

from scenewise.scenes.sections import (
    Block,
    Curve,
    Definitions,
    Durations,
    Notes,
    Picture,
    Pictures,
    Section,
    Table,
)
from scenewise.show.report.held_out import comparison
from scenewise.show.report.page import joined, report_html

GREY = np.full((6, 8, 3), 128, dtype=np.uint8)


def test_an_empty_report_is_a_page():
    page = report_html("empty", [])
    assert page.startswith("<!DOCTYPE html>") and "<h1>empty</h1>" in page and "<section>" not in page


def one_of_each(text: str) -> list[Section]:
    """Every kind of block, with one text wherever a text goes."""
    blocks: tuple[Block, ...] = (
        Pictures(text, text, (Picture(text, GREY), Picture(text, GREY, text))),
        comparison(text, GREY, GREY, {text: 1.0}),
        Curve(text, [0, 1], [1.0, 2.0], across=text),
        Curve(text, [1], [2.0]),
        Table([{text: text}]),
        Durations({text: 1.0}),
        Notes([text]),
        Definitions({text: {text: [text]}, "long": {f"{text}{index}": text for index in range(9)}}),
    )
    assert {type(block) for block in blocks} == set(get_args(Block))
    return [Section(text, blocks, figures={text: text}, warnings=(text,))]


def test_the_page_asks_for_nothing_and_runs_nothing():
    hostile = '<img src="http://evil.example/x"><script>alert(1)</script>" onload="x\'{{ 7 * 7 }}'
    page = SeenPage(report_html(hostile, one_of_each(hostile), subtitle=hostile))
    seen = {tag for tag, _ in page.tags}
    assert "script" not in seen and "link" not in seen
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    text = report_html(hostile, one_of_each(hostile), subtitle=hostile)
    assert "url(" not in text and "@import" not in text and "default-src 'none'" in text


def test_hostile_names_are_shown_as_they_are():
    hostile = "a<script>alert(1)</script>&amp;\"'.jpg"
    page = SeenPage(report_html(hostile, one_of_each(hostile), subtitle=hostile))
    assert page.title == f"{hostile} – Scenewise"
    assert list(page.sections) == ["Warnings", hostile]
    section = page.sections[hostile]
    assert [picture.caption for picture in section.pictures] == [
        hostile,
        hostile,
        "photograph",
        "render",
        "absolute error, white = 0.25 or more",
    ]
    assert [picture.meaning for picture in section.pictures[:3]] == [hostile, hostile, f"photograph of {hostile}"]
    assert section.charts == [hostile]
    assert section.rows[:3] == [[hostile], [hostile], [hostile, "1.0 s", ""]]
    assert page.head.text.count(hostile) == 4  # heading, subtitle, a figure and its name
    assert page.sections["Warnings"].text.strip() == hostile


def test_a_triplet_shows_photograph_render_and_error():
    render = GREY.copy()
    render[:3] = 0  # the upper half is wrong by half the range of a byte, more than the brightest error
    block = comparison("a.jpg", GREY, render, {"PSNR": 9.03, "LPIPS": None})
    section = SeenPage(report_html("x", [Section("Held-out views", (block,))])).sections["Held-out views"]
    truth, shown, error = (picture.pixels for picture in section.pictures)
    assert abs(float(truth.mean()) - 128) < 2 and shown[:2].mean() < 12 and shown[4:].mean() > 116
    assert error[0].mean() > 3 * error[-1].mean()
    assert "PSNR 9.03" in section.text and "LPIPS" not in section.text


def test_figures_of_every_image_are_in_the_table_and_missing_ones_are_dashes():
    table = Table([{"image": "a", "psnr": 31.256, "lpips": None}, {"image": "b", "psnr": None}])
    section = SeenPage(report_html("x", [Section("Images", (table,))])).sections["Images"]
    assert section.rows == [["image", "psnr"], ["a", "31.26"], ["b", "–"]]  # no column for what nobody measured


def test_nested_values_read_as_a_list_and_long_ones_are_folded():
    long = {f"value_{index}": index for index in range(9)}
    block = Definitions({"sizes": [1, 2.5, None], "nothing": [], "fit": {"is_on": True, "rate": 0.5}, "all": long})
    page = SeenPage(report_html("x", [Section("Card", (block,))]))
    assert page.sections["Card"].rows[:3] == [["sizes", "1, 2.5000, –"], ["nothing", "none"], ["fit", "is on yesrate 0.5000"]]
    assert page.sections["Card"].rows[3][1].startswith("9 valuesvalue 0 0value 1 1")
    assert [tag for tag, _ in page.tags].count("details") == 1


def test_bars_are_as_long_as_what_they_stand_for():
    page = SeenPage(report_html("x", [Section("Time", (Durations({"a": 4.0, "b": 1.0, "c": 0.0}),))]))
    assert [attributes["style"] for tag, attributes in page.tags if attributes.get("class") == "bar"] == [
        "width:260px",
        "width:65px",
        "width:0px",
    ]
    assert SeenPage(report_html("x", [Section("Time", (Durations({"a": 0.0}),))])).sections["Time"].rows == [["a", "0.0 s", ""]]


def test_sections_of_one_title_are_one_where_the_last_stands():
    first, second, third = (Curve(name, [0, 1], [1.0, 2.0]) for name in ("first", "second", "third"))
    sections = [
        Section("Training", (first,), {"size": "2"}),
        Section("Names", (third,)),
        Section("Training", (second,), {"steps": "3"}, ("careful",)),
        Section("Nothing"),
    ]
    assert [(section.title, section.content) for section in joined(sections)] == [
        ("Names", (third,)),
        ("Training", (first, second)),
        ("Nothing", ()),
    ]
    page = SeenPage(report_html("x", sections))
    assert list(page.sections) == ["Warnings", "Names", "Training"]
    assert page.sections["Training"].charts == ["first", "second"]
    assert [attributes for tag, attributes in page.tags if attributes.get("class") == "charts"] == [{"class": "charts"}] * 2
    assert "2size" in page.head.text and "3steps" in page.head.text

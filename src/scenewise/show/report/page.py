"""The page of ``report.html``: one file that needs no network and runs no script.

Everything here is a pure function of :class:`ReportContent`; ``apps.report`` gathers one from a scene folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from scenewise.engine.progress import duration_text
from scenewise.show.curves import Curve, chart_svg
from scenewise.show.pictures import ERROR_RANGE, ImageU8, error_picture, jpeg_data_url, thumbnail

_OPEN_ENTRIES = 8  # a longer list of settings is folded

PICTURE_PIXELS = 560  # longer side of a picture in the page; two triplets then stay below half a megabyte

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #5b6572; --paper: #ffffff; --panel: #f4f6f8; --line: #d9dee4;
  --accent: #1f6feb; --warn: #9a5b00; --warn-paper: #fff4dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #98a3b1; --paper: #14181d; --panel: #1d232b;
  --line: #343c47; --accent: #6ea8ff; --warn: #ffcf7a; --warn-paper: #33270f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 20px 60px; max-width: 1180px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 36px 0 12px; }
.muted { color: var(--soft); } .small { font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px; margin-top: 18px; }
.tile { background: var(--panel); border-radius: 8px; padding: 10px 14px; } .tile b { display: block; font-size: 21px;
  font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
.triplet { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; margin: 4px 0 20px; }
.triplet figure { margin: 0; } .triplet img { width: 100%; max-height: 460px; object-fit: contain; object-position: left top;
  display: block; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 13px; padding-top: 2px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 14px; }
.chart { background: var(--panel); border-radius: 8px; padding: 10px 12px 6px; } .chart h3 { margin: 0 0 4px; font-size: 14px; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.curve { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; } .dot { fill: var(--accent); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; } th { color: var(--soft); font-weight: 500; }
.wrap td { overflow-wrap: anywhere; } .number, .name { white-space: nowrap; }
.bar { display: inline-block; height: 9px; background: var(--accent); border-radius: 2px; }
.warnings { background: var(--warn-paper); color: var(--warn); border-radius: 8px; padding: 10px 14px 10px 32px; margin: 0; }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) { .triplet { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True)
class ViewComparison:
    """A held-out photograph beside what the scene shows from there.

    Attributes:
        name: the frame's name.
        truth_u8: the photograph.
        render_u8: the rendered picture of the same size.
        figures: what was measured on it (PSNR …).
    """

    name: str
    truth_u8: ImageU8
    render_u8: ImageU8
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side under one heading.

    Attributes:
        heading: what they show.
        note: a line below it.
        pictures: caption → picture.
    """

    heading: str
    note: str
    pictures: Mapping[str, ImageU8]


@dataclass(frozen=True)
class ReportContent:
    """Everything the page shows.  Empty parts are left out.

    Attributes:
        title: heading.
        subtitle: one line below it.
        tiles: the few figures that matter, as text.
        views: pictures.
        teachers: what teachers and student show of the same views, one gallery each.
        sizes: one row of figures per teacher and student.
        names: classes of the scene.
        answers: heat maps of questions, one gallery each.
        curves: charts.
        images: one row of figures per measured image.
        timings: seconds per stage.
        warnings: what a reader must know before believing the figures.
        card: the evaluation card: split, sizes, corrections, seeds.
        provenance: where the data and the software came from.
    """

    title: str
    subtitle: str = ""
    tiles: Mapping[str, str] = field(default_factory=dict)
    views: Sequence[ViewComparison] = ()
    teachers: Sequence[Gallery] = ()
    sizes: Sequence[Mapping[str, Any]] = ()
    names: Sequence[Gallery] = ()
    answers: Sequence[Gallery] = ()
    curves: Sequence[Curve] = ()
    images: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float | int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def report_html(content: ReportContent) -> str:
    """The page.  Every text is escaped, and a policy in the page forbids it any request."""
    sections = [
        f"<header><h1>{escape(content.title)}</h1>",
        f'<div class="muted">{escape(content.subtitle)}</div>' if content.subtitle else "",
        _tiles(content.tiles),
        "</header>",
        _section("Warnings", _warnings(content.warnings)),
        _section("Held-out views", "".join(_triplet(view) for view in content.views)),
        _section("Teachers and student", "".join(map(_gallery, content.teachers)) + _table(content.sizes)),
        _section("Names", "".join(map(_gallery, content.names))),
        _section("Answers", "".join(map(_gallery, content.answers))),
        _section("Training", _charts(content.curves)),
        _section("Every measured image", _table(content.images)),
        _section("Where the time went", _timings(content.timings)),
        _section("Evaluation card", _definitions(content.card)),
        _section("Provenance", _definitions(content.provenance)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(content.title)} – Scenewise</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n<footer>Written by Scenewise. This file is complete: it loads nothing and runs no script.</footer>\n</body></html>\n"
    )


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{body}</section>" if body else ""


def _tiles(tiles: Mapping[str, str]) -> str:
    cells = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in tiles.items())
    return f'<div class="tiles">{cells}</div>' if cells else ""


def _triplet(view: ViewComparison) -> str:
    figures = " · ".join(f"{name} {_number(value)}" for name, value in view.figures.items() if value is not None)
    pictures = (
        ("photograph", view.truth_u8),
        ("render", view.render_u8),
        (f"absolute error, white = {ERROR_RANGE:g} or more", error_picture(view.truth_u8, view.render_u8)),
    )
    cells = "".join(
        f'<figure><img alt="{escape(caption, quote=True)} of {escape(view.name, quote=True)}" '
        f'src="{jpeg_data_url(thumbnail(picture, PICTURE_PIXELS))}"><figcaption>{escape(caption)}</figcaption></figure>'
        for caption, picture in pictures
    )
    heading = f'<div><b>{escape(view.name)}</b> <span class="muted small">{escape(figures)}</span></div>'
    return f'{heading}<div class="triplet">{cells}</div>'


def _gallery(gallery: Gallery) -> str:
    cells = "".join(
        f'<figure><img alt="{escape(caption, quote=True)}" src="{jpeg_data_url(thumbnail(picture, PICTURE_PIXELS))}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, picture in gallery.pictures.items()
    )
    heading = f'<div><b>{escape(gallery.heading)}</b> <span class="muted small">{escape(gallery.note)}</span></div>'
    return f'{heading}<div class="triplet">{cells}</div>'


def _charts(curves: Sequence[Curve]) -> str:
    drawn = "".join(f'<div class="chart"><h3>{escape(curve.title)}</h3>{chart_svg(curve)}</div>' for curve in curves)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for row in rows for name in row if any(other.get(name) is not None for other in rows)))
    numeric = {name for name in columns if all(isinstance(row.get(name), int | float | None) for row in rows)}
    mark = {name: f' class="{"number" if name in numeric else "name"}"' for name in columns}
    head = "".join(f"<th{mark[name]}>{escape(_words(name))}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{mark[name]}>{escape(_number(row.get(name)))}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _timings(timings: Mapping[str, float | int]) -> str:
    longest = max(timings.values(), default=0.0)
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{duration_text(seconds)}</td>'
        f'<td><span class="bar" style="width:{round(260 * seconds / longest) if longest > 0 else 0}px"></span></td></tr>'
        for name, seconds in timings.items()
    )
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>' if rows else ""


def _warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(warning)}</li>" for warning in dict.fromkeys(warnings))
    return f'<ul class="warnings">{items}</ul>' if items else ""


def _definitions(values: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{escape(_words(name))}</th><td>{_nested(value)}</td></tr>" for name, value in values.items())
    return f'<div class="scroll"><table class="wrap"><tbody>{rows}</tbody></table></div>' if rows else ""


def _nested(value: Any) -> str:
    if isinstance(value, Mapping):
        rows = [f'<span class="muted">{escape(_words(str(name)))}</span> {_nested(item)}' for name, item in value.items()]
        listed = "<br>".join(rows)
        return listed if len(rows) <= _OPEN_ENTRIES else f"<details><summary>{len(rows)} values</summary>{listed}</details>"
    if isinstance(value, list | tuple):
        return ", ".join(_nested(item) for item in value) if value else "none"
    return escape(_number(value))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size = abs(value)
        if size >= 1e4:
            return f"{value:,.0f}"
        return f"{value:.2f}" if size >= 10.0 else f"{value:.4f}" if size >= 0.01 or size == 0.0 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)

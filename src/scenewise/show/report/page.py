"""The page of ``report.html``: one file that needs no network and runs no script.

Everything here is a pure function of sections; the look is in ``templates``.
"""

from collections.abc import Sequence
from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from scenewise.engine.progress import duration_text
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.sections import Block, Notes, Section, Table
from scenewise.show.charts import chart_svg
from scenewise.show.pictures import jpeg_data_url, thumbnail
from scenewise.show.report.texts import number_text, words

PICTURE_PIXELS = 560  # longer side of a picture in the page; two triplets then stay below half a megabyte
WIDE_PIXELS = 1000  # of one with words in it
_OPEN_ENTRIES = 8  # a longer list of settings is folded


def report_html(title: str, sections: Sequence[Section], *, subtitle: str = "") -> str:
    """The page.  Every text is escaped, and a policy in the page forbids it any request.

    Args:
        title: heading.
        sections: what products contributed; the figures of all stand at the head, their warnings come first.
        subtitle: one line below the title.
    """
    figures = {name: value for section in sections for name, value in section.figures.items()}
    warnings = [text for section in sections for text in section.warnings]
    first = [Section("Warnings", (Notes(warnings),))] if warnings else []
    return (
        _environment()
        .get_template("report.html")
        .render(title=title, subtitle=subtitle, figures=figures, sections=[*first, *joined(sections)])
    )


def joined(sections: Sequence[Section]) -> list[Section]:
    """Sections of the same title as one, where the last of them stands; figures and warnings are left out."""
    last = {section.title: position for position, section in enumerate(sections)}
    return [
        Section(title, tuple(block for section in sections if section.title == title for block in section.content))
        for title in sorted(last, key=lambda title: last[title])
    ]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("scenewise.show.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["open_entries"] = _OPEN_ENTRIES
    environment.tests["listing"] = lambda value: isinstance(value, list | tuple)
    environment.filters |= {
        "chart": chart_svg,
        "columns": _columns,
        "data_url": _data_url,
        "duration": duration_text,
        "neighbours": _neighbours,
        "number": number_text,
        "words": words,
    }
    return environment


def _neighbours(content: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Blocks with neighbours of their kind, by the kind's name."""
    return [(kind, list(blocks)) for kind, blocks in groupby(content, key=lambda block: type(block).__name__)]


def _columns(table: Table) -> dict[str, str]:
    """How each column that holds anything is set: "number" or "name"."""
    names = dict.fromkeys(name for row in table.rows for name, value in row.items())
    return {
        name: "number" if all(isinstance(row.get(name), int | float | None) for row in table.rows) else "name"
        for name in names
        if any(row.get(name) is not None for row in table.rows)
    }


def _data_url(image_u8: ImageU8, is_wide: bool = False) -> str:
    return jpeg_data_url(thumbnail(image_u8, WIDE_PIXELS if is_wide else PICTURE_PIXELS))

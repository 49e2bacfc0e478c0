"""A page as a person sees it: headings, texts, pictures with their captions, charts."""

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from PIL import Image

_VOID = {"meta", "img", "br", "polyline", "line", "circle", "rect", "link", "input", "hr"}
_OUT_OF_SIGHT = {"style", "title", "script"}


@dataclass
class SeenPicture:
    """An image of the page: its caption, its text for those who cannot see it, and its pixels."""

    caption: str
    meaning: str
    pixels: np.ndarray


@dataclass
class SeenSection:
    """What stands under one heading, or before the first."""

    heading: str
    text: str = ""
    pictures: list[SeenPicture] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


class SeenPage(HTMLParser):
    """Reads a page and fails where an element is closed that is not open, or is left open.

    Attributes:
        title: of the window.
        head: what stands before the first section.
        sections: by heading, in order.
        tags: every element with its attributes.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.title = ""
        self.head = SeenSection("")
        self.sections: dict[str, SeenSection] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._now = self.head
        self.feed(page)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "h2" or tag == "footer":
            self._now = SeenSection("")
        elif tag == "img":
            content = base64.b64decode((attributes["src"] or "").removeprefix("data:image/jpeg;base64,"))
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            self._now.pictures.append(SeenPicture("", attributes["alt"] or "", pixels))
        elif tag == "svg":
            self._now.charts.append(attributes["aria-label"] or "")
        elif tag == "tr":
            self._now.rows.append([])
        elif tag in ("td", "th"):
            self._now.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, tag
        if tag == "h2":
            assert self._now.heading not in self.sections, "one section for each heading"
            self.sections[self._now.heading] = self._now

    def handle_data(self, data: str) -> None:
        where = set(self._open)
        if "title" in where:
            self.title += data
        if where & _OUT_OF_SIGHT:
            return
        if "h2" in where:
            self._now.heading += data
        elif "figcaption" in where:
            self._now.pictures[-1].caption += data
        elif where & {"td", "th"}:
            self._now.rows[-1][-1] += data
        if "h2" not in where:
            self._now.text += data

"""Sections of a report as plain records: what a product tells about itself, without a word of how it is laid out.

A product is anything that leaves something in a scene folder: a training run, an evaluation, names, answers, a method's own.
It makes its sections from a :class:`ReportMaterial`; ``scenewise.show.report`` lays them out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import Scene, SceneCamera


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        caption: the line below it.
        image_u8: any size; large ones are shown smaller.
        meaning: what it shows, for those who cannot see it; the caption when None.
    """

    caption: str
    image_u8: ImageU8
    meaning: str | None = None


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side under one heading.

    Attributes:
        heading: what they show.
        note: a few words beside it.
        pictures: from left to right.
        is_wide: each on a line of its own and large, because there are words in it.
    """

    heading: str
    note: str
    pictures: tuple[Picture, ...]
    is_wide: bool = False


@dataclass(frozen=True)
class Curve:
    """One quantity over another, drawn as a chart; neighbouring curves of a section stand side by side.

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


@dataclass(frozen=True)
class Table:
    """Figures in rows.

    Attributes:
        rows: value by column; columns stand in the order of their first appearance, those without any value are left out.
    """

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Durations:
    """What took how long, with a bar for each.

    Attributes:
        seconds: by name.
    """

    seconds: Mapping[str, float | int]


@dataclass(frozen=True)
class Notes:
    """What a reader must know before believing the figures.

    Attributes:
        texts: one sentence each; repeated ones are shown once.
    """

    texts: Sequence[str]


@dataclass(frozen=True)
class Definitions:
    """Named values: numbers, texts, lists, and mappings of these.

    Attributes:
        values: by name.
    """

    values: Mapping[str, Any]


Block = Pictures | Curve | Table | Durations | Notes | Definitions


@dataclass(frozen=True)
class Section:
    """What a product contributes to a report.

    Attributes:
        title: its heading; sections of the same title become one, where the last of them stands.
        content: in the order of reading.  Without any, the heading is left out too.
        figures: the few that matter most, as text by name, for the head of the report.
        warnings: what could not be shown, or must be known, for the warnings at its beginning.
    """

    title: str
    content: tuple[Block, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportMaterial:
    """What products make their sections from.

    Attributes:
        folder: scene folder.
        scene: what it describes.
        views: cameras of the scene to show pictures of, chosen once for all sections.
        most_pictures: how many pictures a row may have.
        capture: the photographs, or None where they cannot be read.
        events: of the run's journal.
        renders: the scene as rendered from some of ``views`` at their size, by frame; nobody needs to render those again.
        seen_by: what cameras see of the scene's Gaussians, where these need not all be in memory; else None.
    """

    folder: Path
    scene: Scene
    views: tuple[SceneCamera, ...]
    most_pictures: int
    capture: Capture | None = None
    events: Sequence[Mapping[str, Any]] = ()
    renders: Mapping[str, ImageU8] = field(default_factory=dict)
    seen_by: Callable[[Cameras], Gaussians] | None = None

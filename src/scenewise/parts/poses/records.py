"""What is known of photographs once their poses are found."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.engine.progress import duration_text
from scenewise.io.json_fields import JsonFields

WARN_BELOW = 0.9
"""Share of registered pictures below which a result is not to be trusted without a look."""
_LISTED_AT_MOST = 8


@dataclass(frozen=True)
class LeftOut:
    """A picture that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PixelErrors:
    """Distances between where points are seen and where they are expected.

    Attributes:
        count: observations measured.
        median_px: in pixels of the full picture.
        mean_px: likewise; large errors are rare and count here.
    """

    count: int
    median_px: float | None
    mean_px: float | None


@dataclass(frozen=True)
class FoundLens:
    """One camera, shared by the pictures it took.

    Attributes:
        model: COLMAP's name.
        width: of its pictures, in pixels.
        height: likewise.
        focal_px: found; the mean of both axes.
        exif_focal_px: that EXIF told, or None.
        pictures: registered ones.
    """

    model: str
    width: int
    height: int
    focal_px: float
    exif_focal_px: float | None
    pictures: int


@dataclass(frozen=True)
class PosesFound:
    """What ``scenewise poses`` made.

    Attributes:
        capture: the folder.
        pictures: how many there were.
        registered: how many have a pose.
        left_out: the others, each with the reason.
        models: pictures of each model that was found, the one that was taken first.
        points: of the model.
        reprojection: errors of the observations in the bundle.
        held_out: errors of observations that no estimate has used: tracks left out of a second bundle, each triangulated without
            the observation it is measured at.
        lenses: one per camera.
        pairs: pictures compared.
        pairs_chosen: how, for people.
        working_side: longer side of the pictures in which features were found, at most.
        seconds: the session took that finished it.
    """

    capture: Path
    pictures: int
    registered: int
    left_out: tuple[LeftOut, ...]
    models: tuple[int, ...]
    points: int
    reprojection: PixelErrors
    held_out: PixelErrors
    lenses: tuple[FoundLens, ...]
    pairs: int
    pairs_chosen: str
    working_side: int
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What deserves attention, each with what to do."""
        told = []
        if self.registered < WARN_BELOW * self.pictures:
            told.append(
                f"only {self.registered} of {self.pictures} pictures have a pose; left out: {named(self.left_out)}. "
                "Fix: add pictures between these and the others, or try --max-side 1280"
            )
        if len(self.models) > 1 and self.models[0] < self.pictures:
            others = ", ".join(str(size) for size in self.models[1:])
            told.append(
                f"the pictures fall into {len(self.models)} models; that of {self.models[0]} pictures was taken, "
                f"the others have {others}. Fix: photograph the way between them"
            )
        return tuple(told)

    def text(self) -> str:
        """A few lines for people, and what to do next."""
        return f"{self.figures()}\nnext: scenewise reconstruct {self.capture} --out SCENE"

    def figures(self) -> str:
        """A few lines for people."""
        inside, outside = self.reprojection, self.held_out
        lines = [
            f"{self.capture}: {self.registered} of {self.pictures} pictures have a pose, {self.points:,} points, "
            f"{duration_text(self.seconds)}",
            f"compared {self.pairs:,} pairs, {self.pairs_chosen}",
            f"reprojection error: median {_px(inside.median_px)}, mean {_px(inside.mean_px)} in {inside.count:,} observations; "
            f"on tracks left out of the bundle: median {_px(outside.median_px)}, mean {_px(outside.mean_px)} in "
            f"{outside.count:,}",
        ]
        for lens in self.lenses:
            known = "" if lens.exif_focal_px is None else f" (EXIF: {lens.exif_focal_px:.0f} px)"
            lines.append(
                f"{lens.model} camera of {lens.pictures} pictures {lens.width}×{lens.height}: "
                f"focal length {lens.focal_px:.1f} px{known}"
            )
        if self.left_out:
            lines.append(f"left out: {named(self.left_out)}")
        return "\n".join(lines)


def named(left_out: tuple[LeftOut, ...]) -> str:
    """Names by reason, the first few of each."""
    reasons: dict[str, list[str]] = {}
    for one in left_out:
        reasons.setdefault(one.reason, []).append(one.name)
    told = []
    for reason, names in reasons.items():
        more = len(names) - _LISTED_AT_MOST
        shown = ", ".join(names[:_LISTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
        told.append(f"{shown} ({reason})")
    return "; ".join(told) if told else "none"


def found_from_json(capture: Path, fields: JsonFields) -> PosesFound:
    """The record in ``poses.json``.

    Raises:
        DataFormatError: an entry is missing or of the wrong kind.
    """
    return PosesFound(
        capture=capture,
        pictures=fields.integer("pictures"),
        registered=fields.integer("registered"),
        left_out=tuple(LeftOut(entry.text("name"), entry.text("reason")) for entry in fields.objects("left_out")),
        models=tuple(fields.integers("models")),
        points=fields.integer("points"),
        reprojection=errors_from_json(fields.object("reprojection")),
        held_out=errors_from_json(fields.object("held_out")),
        lenses=tuple(map(lens_from_json, fields.objects("lenses"))),
        pairs=fields.integer("pairs"),
        pairs_chosen=fields.text("pairs_chosen"),
        working_side=fields.integer("working_side"),
        seconds=fields.number("seconds"),
    )


def lens_from_json(entry: JsonFields) -> FoundLens:
    """The inverse of ``dataclasses.asdict``; errors as in :func:`found_from_json`."""
    return FoundLens(
        entry.text("model"),
        entry.integer("width", minimum=1),
        entry.integer("height", minimum=1),
        entry.number("focal_px"),
        entry.number("exif_focal_px", None),
        entry.integer("pictures"),
    )


def errors_from_json(entry: JsonFields) -> PixelErrors:
    """The inverse of ``dataclasses.asdict``; errors as in :func:`found_from_json`."""
    return PixelErrors(entry.integer("count"), entry.number("median_px", None), entry.number("mean_px", None))


def _px(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} px"

"""Where on Earth a capture lies."""

from dataclasses import dataclass

from scenewise.scenes.georeference import Georeference


@dataclass(frozen=True)
class GeoreferenceSummary:
    """Where the capture lies.

    Attributes:
        epsg: code of the projected system.
        metres_per_unit: scale of the fit.
        offset: projected coordinates of the world origin.
        rms_error_m: residual of the fit, None when the transform was given.
    """

    epsg: int
    metres_per_unit: float
    offset: tuple[float, float, float]
    rms_error_m: float | None


def summary_of(georeference: Georeference) -> GeoreferenceSummary:
    """Where a capture lies, in plain numbers."""
    east, north, height = (float(value) for value in georeference.offset)
    return GeoreferenceSummary(georeference.epsg, georeference.scale, (east, north, height), georeference.rms_error)

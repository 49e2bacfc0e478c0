"""Where a capture lies on Earth, from the GPS positions of its photographs."""

import csv
import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, MissingDependencyError
from scenewise.geometry.transforms import fit_similarity
from scenewise.io.images import open_picture
from scenewise.scenes.frames import Frame
from scenewise.scenes.georeference import Georeference

GPS_CSV_NAME = "gps.csv"
_GPS_COLUMNS = ("latitude_deg", "longitude_deg", "altitude_m")
_GPS_IFD = 0x8825
_MAX_TRIPLES = 500
_EXIF_PROBES = 3


def read_gps_csv(path: Path) -> dict[str, tuple[float, float, float]]:
    """Positions by image name from a table with the columns image, latitude_deg, longitude_deg, altitude_m (WGS 84).

    Raises:
        DataFormatError: missing columns, numbers out of range, not UTF-8.
    """
    columns = _GPS_COLUMNS
    positions: dict[str, tuple[float, float, float]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if rows.fieldnames is None or not {"image", *columns} <= set(rows.fieldnames):
                raise DataFormatError(path, "header", expected=", ".join(("image", *columns)), got=rows.fieldnames)
            for row in rows:
                try:
                    latitude, longitude, altitude = (float(row[column]) for column in columns)
                except (TypeError, ValueError) as error:
                    raise DataFormatError(path, f"line {rows.line_num}", expected="three numbers", got=str(error)) from error
                if not (abs(latitude) <= 90 and abs(longitude) <= 360 and abs(altitude) < 1e6):
                    raise DataFormatError(
                        path,
                        f"line {rows.line_num}",
                        expected="latitude −90 … 90°, longitude −180 … 180°, altitude in metres",
                        got=(latitude, longitude, altitude),
                    )
                positions[str(row["image"])] = (latitude, longitude, altitude)
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFormatError(path, expected="comma-separated text in UTF-8", got=str(error)) from error
    return positions


def gps_csv_text(positions: Mapping[str, tuple[float, float, float]]) -> str:
    """The table that :func:`read_gps_csv` reads, in the order of the names."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", *_GPS_COLUMNS))
    rows.writerows((name, *positions[name]) for name in sorted(positions))
    return text.getvalue()


def read_gps_exif(path: Path) -> tuple[float, float, float] | None:
    """Latitude and longitude in degrees and altitude in metres from a photograph's EXIF, or None where it has none."""
    try:
        with open_picture(path) as image:
            tags: dict[int, Any] = image.getexif().get_ifd(_GPS_IFD)
        latitude, longitude = (_degrees(tags[key]) for key in (2, 4))
        latitude *= -1 if str(tags.get(1, "N")).upper().startswith("S") else 1
        longitude *= -1 if str(tags.get(3, "E")).upper().startswith("W") else 1
        below_sea = tags.get(5, 0) in (1, b"\x01")
        altitude = float(tags[6]) * (-1 if below_sea else 1)
    # A photograph without a usable position is the normal case, whatever a decoder makes of damaged tags.
    except Exception:
        return None
    position = (latitude, longitude, altitude)
    in_range = all(math.isfinite(value) for value in position) and abs(latitude) <= 90 and abs(longitude) <= 180
    return position if in_range and (latitude, longitude) != (0.0, 0.0) else None


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600


def find_gps(root: Path, frames: tuple[Frame, ...]) -> dict[str, tuple[float, float, float]]:
    """Positions by frame name from ``gps.csv`` beside the capture, else from the photographs' EXIF; empty where there are none.

    Raises:
        DataFormatError: a broken ``gps.csv``.
    """
    table = next((folder / GPS_CSV_NAME for folder in (root, root / "images") if (folder / GPS_CSV_NAME).is_file()), None)
    if table is not None:
        by_image = read_gps_csv(table)
        by_file = {name.replace("\\", "/").rsplit("/", 1)[-1]: position for name, position in by_image.items()}
        found = {frame.name: by_image.get(frame.name, by_file.get(frame.name.rsplit("/", 1)[-1])) for frame in frames}
        return {name: position for name, position in found.items() if position is not None}
    photographs = [frame for frame in frames if frame.has_image and frame.image_path is not None]
    probes = photographs[:_EXIF_PROBES]
    if not any(read_gps_exif(frame.image_path) for frame in probes if frame.image_path is not None):
        return {}
    positions = {frame.name: read_gps_exif(frame.image_path) for frame in photographs if frame.image_path is not None}
    return {name: position for name, position in positions.items() if position is not None}


def utm_epsg(latitude_deg: float, longitude_deg: float) -> int:
    """EPSG code of the WGS 84 / UTM zone (polar stereographic beyond 84° N and 80° S).

    >>> utm_epsg(46.8, -92.0), utm_epsg(-33.9, 151.2)
    (32615, 32756)
    """
    if latitude_deg > 84:
        return 32661
    if latitude_deg < -80:
        return 32761
    zone = int(((longitude_deg + 180) % 360) // 6) + 1
    return (32600 if latitude_deg >= 0 else 32700) + zone


def georeference_capture(root: Path, frames: tuple[Frame, ...]) -> Georeference | None:
    """The similarity from the capture's world to UTM; None where positions are too few, pyproj is missing or nothing fits.

    All but "no positions at all" is told in a warning: a reconstruction does not depend on it.

    Raises:
        DataFormatError: a broken ``gps.csv``.
    """
    positions = find_gps(root, frames)
    if not positions:
        return None
    located = [frame for frame in frames if frame.name in positions]
    geodetic = np.array([positions[frame.name] for frame in located])
    centres = np.array([frame.camera.centers_in_world.tolist() for frame in located])
    try:
        return fit_georeference(centres, geodetic)
    except (MissingDependencyError, ConventionError) as error:
        warnings.warn(f"{root}: GPS positions of {len(located)} images are not used: {error}", CaptureWarning, 2)
        return None


def fit_georeference(centres_in_world: Float64[np.ndarray, "n 3"], geodetic: Float64[np.ndarray, "n 3"]) -> Georeference:
    """Fits world → UTM to GPS positions, leaving out those that disagree with the rest.

    Least median of squares over triples (Rousseeuw 1984) finds the start, so nearly half the positions may be wrong; the result
    is the least-squares fit to the positions within 3 robust standard deviations.

    Args:
        centres_in_world: optical centres, world units.
        geodetic: latitude and longitude in degrees, altitude in metres, WGS 84.

    Raises:
        MissingDependencyError: pyproj is not installed.
        ConventionError: fewer than 3 positions, all on one line, or positions that fit no similarity.
    """
    try:
        import pyproj
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyproj", needed_for="georeferencing", extra="io") from error
    if len(centres_in_world) < 3:
        raise ConventionError("GPS positions", expected="at least 3", got=len(centres_in_world))
    longitude = np.radians(geodetic[:, 1])
    mean_longitude = math.degrees(math.atan2(np.median(np.sin(longitude)), np.median(np.cos(longitude))))
    epsg = utm_epsg(float(np.median(geodetic[:, 0])), mean_longitude)
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True)
    east, north = to_utm.transform(geodetic[:, 1], geodetic[:, 0])
    projected = np.stack([np.asarray(east), np.asarray(north), geodetic[:, 2]], axis=-1)
    if not np.isfinite(projected).all():
        raise ConventionError("GPS positions", expected=f"positions within reach of EPSG:{epsg}", got="some that are not")
    centre = np.median(projected, axis=0)  # the fit works on small numbers; the offset is added last
    local = projected - centre
    inliers = _agreeing(centres_in_world, local)
    for _ in range(10):
        scale, rotation, offset = fit_similarity(centres_in_world[inliers], local[inliers])
        residuals = np.linalg.norm(offset + scale * centres_in_world @ rotation.T - local, axis=1)
        kept = residuals <= _threshold(residuals)
        if (kept == inliers).all() or kept.sum() < 3:
            break
        inliers = kept
    rms = float(np.sqrt((residuals[inliers] ** 2).mean()))
    spread = float(np.linalg.norm(local[inliers] - local[inliers].mean(0), axis=1).mean())
    if not rms < 0.3 * spread:
        raise ConventionError(
            "GPS positions", expected="the shape of the camera path", got=f"{rms:.1f} m off on a path of {spread:.1f} m"
        )
    return Georeference(epsg=epsg, scale=scale, rotation=rotation, offset=centre + offset, rms_error=rms)


def _threshold(residuals: np.ndarray) -> float:
    """Three robust standard deviations of a 3D residual; a floor keeps perfect data from rejecting itself by rounding."""
    return max(3 * 1.4826 * float(np.median(residuals)), 1e-3)


def _agreeing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Positions that agree with the similarity of least median residual among triples."""
    generator = np.random.default_rng(0)  # the same triples every time: opening a capture twice gives the same numbers
    best, best_residuals = math.inf, None
    for _ in range(_MAX_TRIPLES):
        chosen = generator.choice(len(source), 3, replace=False)
        try:
            scale, rotation, offset = fit_similarity(source[chosen], target[chosen])
        except ConventionError:  # three positions on one line
            continue
        residuals = np.linalg.norm(offset + scale * source @ rotation.T - target, axis=1)
        # A triple fits itself exactly, so with few positions the median alone says little: the upper quartile breaks ties.
        score = float(np.median(residuals) + 1e-3 * np.quantile(residuals, 0.75))
        if score < best:
            best, best_residuals = score, residuals
    if best_residuals is None:
        raise ConventionError("GPS positions", expected="positions that span a plane", got="all on one line")
    return best_residuals <= _threshold(best_residuals)

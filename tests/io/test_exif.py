"""What cameras write into their photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewise.errors import DataFormatError
from scenewise.io.exif import read_photograph_header
from scenewise.io.georeference import gps_csv_text, read_gps_csv

_EXIF_IFD = 0x8769


def _photograph(path: Path, size: tuple[int, int] = (400, 300), **tags: object) -> Path:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 1"
    numbers = {"focal": 0x920A, "focal_35": 0xA405, "plane_x": 0xA20E, "plane_unit": 0xA210}
    exif.get_ifd(_EXIF_IFD).update({numbers[name]: value for name, value in tags.items()})
    Image.new("RGB", size, (90, 120, 30)).save(path, exif=exif)
    return path


def test_the_equivalent_focal_length_is_of_the_diagonal(tmp_path: Path) -> None:
    header = read_photograph_header(_photograph(tmp_path / "a.jpg", focal=4.2, focal_35=26))
    # The diagonal of 36×24 mm is 43.27 mm; of 400×300 pixels, 500.
    assert header.focal_px == pytest.approx(26 * 500 / 43.2666, rel=1e-4)
    assert (header.width, header.height, header.camera) == (400, 300, "Maker Model 1 4.2 mm")


def test_the_focal_plane_tells_where_no_equivalent_is_given(tmp_path: Path) -> None:
    # 400 pixels over 8 mm are 1270 an inch: 10 mm of focal length are 500 pixels.
    assert read_photograph_header(_photograph(tmp_path / "a.jpg", focal=10.0, plane_x=1270.0, plane_unit=2)).focal_px == (
        pytest.approx(500.0)
    )
    assert read_photograph_header(_photograph(tmp_path / "b.jpg", focal=10.0, plane_x=500.0, plane_unit=3)).focal_px == (
        pytest.approx(500.0)
    )


@pytest.mark.parametrize("tags", [{}, {"focal": 4.2}, {"focal_35": 0}, {"focal_35": 60000}, {"focal": 0.0, "plane_x": 1270.0}])
def test_focal_lengths_that_cannot_be_are_none(tmp_path: Path, tags: dict[str, object]) -> None:
    assert read_photograph_header(_photograph(tmp_path / "a.jpg", **tags)).focal_px is None


@pytest.mark.parametrize(
    ("tags", "date"),
    [
        ({0x9003: "2025:03:28 10:11:12", 0x9004: "2026:01:01 00:00:00"}, "2025-03-28"),
        ({0x9004: "2024:02:29 23:59:59"}, "2024-02-29"),
        ({0x9003: "2023:02:29 10:00:00", 0x9004: "2023:03:01 10:00:00"}, "2023-03-01"),  # a day that was none
        ({0x9003: "1970:01:01 00:00:00"}, None),  # the clock was never set
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: 7}, None),
        ({}, None),
    ],
)
def test_the_day_a_photograph_was_taken(tags: dict[int, object], date: str | None, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Maker", "2020:01:01 00:00:00"  # when the file was changed says nothing
    exif.get_ifd(_EXIF_IFD).update(tags)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read_photograph_header(tmp_path / "a.jpg").date == date


def test_a_picture_without_exif_and_a_depth_map_are_told_apart(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "depth.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "plain.png")
    assert read_photograph_header(tmp_path / "depth.png").is_depth_like
    plain = read_photograph_header(tmp_path / "plain.png")
    assert (plain.is_depth_like, plain.camera, plain.focal_px) == (False, "", None)


def test_positions_are_read_as_they_were_written(tmp_path: Path) -> None:
    positions = {"b, c.jpg": (46.842607081234, -91.5, 198.309), "a.jpg": (-1.25, 0.1 + 0.2, -3.0)}
    (tmp_path / "gps.csv").write_text(gps_csv_text(positions), encoding="utf-8")
    assert read_gps_csv(tmp_path / "gps.csv") == positions


@pytest.mark.errors
def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataFormatError, match=r"a\.jpg: expected a readable image"):
        read_photograph_header(tmp_path / "a.jpg")

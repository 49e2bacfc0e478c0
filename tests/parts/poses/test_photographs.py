"""Which pictures of a folder are photographs, and what belongs to them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewise.errors import DataFormatError
from scenewise.parts.poses.features import find_features
from scenewise.parts.poses.photographs import read_photographs
from scenewise.parts.poses.settings import PoseSettings


def _picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8))
    noise.resize((320, 240), Image.Resampling.BICUBIC).save(path)


def test_pictures_are_found_in_natural_order_with_positions_and_masks(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        _picture(tmp_path / "house" / "images" / f"a{number}.png", number)
    _picture(tmp_path / "house" / "masks" / "a9.png")
    _picture(tmp_path / "house" / "images" / "mask_a10.png")
    (tmp_path / "house" / "gps.csv").write_text("image,latitude_deg,longitude_deg,altitude_m\na9.png,1,2,3\n", encoding="utf-8")
    for named in (tmp_path / "house", tmp_path / "house" / "images"):
        found = read_photographs(named)
        assert [one.name for one in found.pictures] == ["a1.png", "a9.png", "a10.png"]
        assert [one.position for one in found.pictures] == [None, (1.0, 2.0, 3.0), None]
        assert [one.mask and one.mask.name for one in found.pictures] == [None, "a9.png", "mask_a10.png"]
        assert found.gps_csv == tmp_path / "house" / "gps.csv"


def test_masks_hide_features_and_one_that_does_not_fit_leaves_its_picture_out(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        _picture(tmp_path / "photos" / f"a{number}.png", number)
    right = np.zeros((120, 160), np.uint8)
    right[:, 80:] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(right).save(tmp_path / "masks" / "a1.png.png")
    Image.fromarray(right.T.copy()).save(tmp_path / "masks" / "a2.png")
    pictures = read_photographs(tmp_path / "photos").pictures
    found, left_out = find_features(pictures, tmp_path / "features", PoseSettings(), threads=1)
    assert found[0] is not None and found[1] is None and found[2] is not None
    assert found[0].features.pixels[:, 0].min() > 155 and found[2].features.pixels[:, 0].min() < 40
    ((name, reason),) = [(one.name, one.reason) for one in left_out]
    assert name == "a2.png" and "masks/a2.png: mask size: expected 320×240 like its photograph" in reason
    again, _ = find_features(pictures, tmp_path / "features", PoseSettings(), threads=2)
    assert again[0] is not None and (again[0].features.descriptors_u8 == found[0].features.descriptors_u8).all()


def test_formats_that_are_not_read_are_named_unless_the_picture_is_there_twice(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        _picture(tmp_path / f"IMG_{number}.JPG", number)
    for name in ("IMG_2.DNG", "IMG_4.HEIC"):
        (tmp_path / name).write_bytes(b"raw")
    found = read_photographs(tmp_path)
    assert [one.name for one in found.pictures] == ["IMG_1.JPG", "IMG_2.JPG", "IMG_3.JPG"]
    assert [(one.name, one.reason) for one in found.left_out] == [("IMG_4.HEIC", ".HEIC is not read")]
    for number in (1, 2, 3):
        (tmp_path / f"IMG_{number}.JPG").unlink()
    with pytest.raises(DataFormatError, match=r"got 0; IMG_2.DNG: .DNG is not read; .* Fix: convert the pictures to JPEG or PNG"):
        read_photographs(tmp_path)


@pytest.mark.errors
def test_folders_without_photographs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="expected a folder of photographs, or a film, got nothing"):
        read_photographs(tmp_path / "nowhere")
    _picture(tmp_path / "images" / "only.png")
    with pytest.raises(DataFormatError, match=r"at least 3 photographs.*got 1"):
        read_photographs(tmp_path)

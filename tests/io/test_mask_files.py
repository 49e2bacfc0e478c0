"""Masks of photographs: where they are found, what sizes they may have, and what transparency means."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.captures import missing_companions, open_capture, usable_frames
from scenewise.io.frame_loaders import MaskLoader
from scenewise.io.masks import MaskFinder
from scenewise.io.resizing import downscaled
from scenewise.scenes.captures import Capture

WIDTH, HEIGHT = 12, 8
LENS = LensCamera("PINHOLE", (10.0, 10.0, 6.0, 4.0), WIDTH, HEIGHT)
DISTORTED = {"fl_x": 10.0, "fl_y": 10.0, "k1": 0.05, "w": WIDTH, "h": HEIGHT}
RENDERED = {"camera_angle_x": 1.0, "w": WIDTH, "h": HEIGHT}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def half_mask(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """White but for the left third."""
    mask = np.full((height, width), 255, np.uint8)
    mask[:, : width // 3] = 0
    return mask


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def transforms(
    folder: Path, lens: dict[str, float], *, transparent: bool = False, name: str = "transforms.json", **more: list[str]
) -> Path:
    """Three photographs in images/, perhaps with a transparent left third; ``more`` are keys of frames."""
    frames = []
    for index in range(3):
        rgb = np.full((HEIGHT, WIDTH, 3), 40 * (index + 1), np.uint8)
        pixels = np.concatenate([rgb, half_mask()[..., None]], axis=-1) if transparent else rgb
        save(folder / "images" / f"{index}.png", pixels)
        pose = np.eye(4)
        pose[0, 3] = index
        frame = {"file_path": f"images/{index}.png", "transform_matrix": pose.tolist()}
        frames.append(frame | {key: values[index] for key, values in more.items()})
    (folder / name).write_text(json.dumps({**lens, "frames": frames}))
    return folder


def shares(capture: Capture) -> list[float | None]:
    return [None if frame.load_mask is None else float(frame.load_mask().mean()) for frame in capture.frames]


@pytest.mark.parametrize(
    ("photograph", "name", "mask"),
    [
        ("images/0001.jpg", "0001.jpg", "masks/0001.jpg.png"),
        ("images/0001.jpg", "0001.jpg", "masks/0001.png"),
        ("images/0001.jpg", "images/0001.jpg", "masks/0001.png"),
        ("images/a/0001.jpg", "a/0001.jpg", "masks/a/0001.jpg.png"),
        ("images_4/0001.jpg", "0001.jpg", "masks/0001.png"),
        ("images_4/0001.jpg", "0001.jpg", "masks_4/0001.png"),
        ("0001.jpg", "0001.jpg", "masks/0001.jpg"),
        ("images/0001.jpg", "0001.jpg", "images/mask_0001.jpg"),
        ("images/0001.jpg", "0001.jpg", "images/mask_0001.png"),
    ],
)
def test_masks_are_found_where_tools_put_them(tmp_path: Path, photograph: str, name: str, mask: str) -> None:
    image, expected = touch(tmp_path / photograph), touch(tmp_path / mask)
    touch(tmp_path / "masks" / "0002.png")
    assert MaskFinder().find(image, name) == expected


def test_masks_of_others_are_not_taken(tmp_path: Path) -> None:
    image = touch(tmp_path / "capture" / "0001.jpg")
    touch(tmp_path / "masks" / "0001.png")  # beside the capture, not in it
    touch(tmp_path / "capture" / "masks" / "00010.png")
    assert MaskFinder().find(image, "0001.jpg") is None


def test_a_mask_of_another_size_takes_the_nearest_value(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", half_mask(24, 16))
    np.testing.assert_array_equal(MaskLoader(path, LENS)(), half_mask() > 0)


@pytest.mark.errors
def test_a_mask_of_other_proportions_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", half_mask(8, 12))
    with pytest.raises(DataFormatError, match=r"m\.png: mask size: expected 12×8 like its photograph.*got 8×12"):
        MaskLoader(path, LENS)()


def test_an_empty_mask_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.warns(CaptureWarning, match=r"black\.png: the mask is all black"):
        assert not MaskLoader(path, LENS)().any()


def test_a_smaller_frame_uses_pixels_that_the_mask_leaves_whole(tmp_path: Path) -> None:
    transforms(tmp_path, RENDERED)
    mask = half_mask()
    mask[0, 11] = 0  # one of the four pixels under the smaller frame's last one in the first row
    save(tmp_path / "masks" / "0.png", mask)
    smaller = downscaled(open_capture(tmp_path).frames[0], 2)
    assert smaller.load_mask is not None
    expected = np.zeros((4, 6), dtype=bool)
    expected[:, 2:] = True
    expected[0, 5] = False
    np.testing.assert_array_equal(smaller.load_mask(), expected)


def test_listed_masks_and_depth_maps_that_are_gone_are_named(tmp_path: Path) -> None:
    gone = [f"gone/{index}.png" for index in range(3)]
    save(tmp_path / "gone" / "1.png", half_mask())
    transforms(tmp_path, RENDERED, mask_path=gone, depth_file_path=[f"depth/{index}.png" for index in range(3)])
    capture = open_capture(tmp_path)
    assert shares(capture) == [None, pytest.approx(2 / 3), None]
    assert [(kind, len(paths)) for kind, paths in missing_companions(capture)] == [("mask", 2), ("depth map", 3)]
    with pytest.warns(CaptureWarning) as caught:
        usable_frames(capture)
    assert "2 listed masks are missing: " in str(caught[0].message) and "2.png" in str(caught[0].message)
    assert "3 listed depth maps are missing" in str(caught[1].message)
    with pytest.raises(DataFormatError, match="expected every listed mask, got 2 listed masks are missing"):
        usable_frames(capture, strict=True)


@pytest.mark.parametrize(
    ("lens", "name", "asked", "background", "is_mask"),
    [
        (DISTORTED, "transforms.json", None, None, True),  # photographs
        (RENDERED, "transforms.json", None, None, False),
        (DISTORTED, "transforms_train.json", "mask", None, True),
        (DISTORTED, "transforms.json", "background", None, False),
        (DISTORTED, "transforms.json", None, (0.0, 0.0, 0.0), False),  # who names a background wants to see it
    ],
)
def test_what_transparency_means(
    tmp_path: Path, lens: dict[str, float], name: str, asked: str | None, background: object, is_mask: bool
) -> None:
    transforms(tmp_path, lens, transparent=True, name=name)
    capture = open_capture(tmp_path, alpha=asked, background=background)  # type: ignore[arg-type]
    assert (capture.background is None) == is_mask
    if is_mask:
        for share, frame in zip(shares(capture), capture.frames):
            assert share is not None and 0.4 < share < 0.7  # undistorting cuts the border
            assert frame.load_image is not None and frame.load_mask is not None
            assert len(np.unique(frame.load_image()[frame.load_mask()])) == 1  # nothing of the white behind bleeds in
    else:
        assert shares(capture) == [None] * 3
        assert capture.frames[0].load_image is not None and capture.background == (background or (1.0, 1.0, 1.0))


def test_transparency_and_masks_leave_what_both_leave(tmp_path: Path) -> None:
    transforms(tmp_path, RENDERED, transparent=True)
    save(tmp_path / "masks" / "0.png", np.ascontiguousarray(half_mask()[:, ::-1]))
    capture = open_capture(tmp_path, alpha="mask")
    assert shares(capture) == [pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3)]


def test_captures_without_masks_stay_silent(tmp_path: Path) -> None:
    transforms(tmp_path, RENDERED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shares(open_capture(tmp_path)) == [None] * 3

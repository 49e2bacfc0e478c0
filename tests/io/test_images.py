"""Decoding photographs, depth maps and masks; undoing the lens."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera, distort
from scenewise.geometry.undistortion import sampling_map, undistorted_camera
from scenewise.io.frame_loaders import DepthLoader, ImageLoader, MaskLoader
from scenewise.io.images import read_codes_u16, read_image_header
from scenewise.io.lens_files import match_lens_to_image
from scenewise.io.undistorted_pixels import resample_bilinear, sample_nearest, sampling_strips

PINHOLE = LensCamera("PINHOLE", (20.0, 21.0, 6.0, 4.0), 12, 8)
BARREL = LensCamera("OPENCV", (150.0, 140.0, 98.0, 76.0, -0.12, 0.02, 0.004, -0.003), 200, 150)
FISHEYE = LensCamera("OPENCV_FISHEYE", (95.0, 100.0, 98.0, 76.0, 0.02, -0.01, 0.0, 0.0), 200, 150)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def rays_of_pixels(camera: LensCamera) -> tuple[np.ndarray, int, int]:
    pinhole = undistorted_camera(camera)
    K = pinhole.K
    x, y = (np.arange(pinhole.width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(pinhole.height) + 0.5 - K[1, 2]) / K[1, 1]
    return np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1), pinhole.width, pinhole.height


@pytest.mark.parametrize("camera", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_a_ramp_is_undistorted_to_the_formula(camera: LensCamera, tmp_path: Path):
    """Red holds the column and green the row of the photograph, so each undistorted pixel says where it came from."""
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    path = save(tmp_path / "ramp.png", np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8))
    image = ImageLoader(path, camera)()
    rays, width, height = rays_of_pixels(camera)
    assert image.shape == (height, width, 3)
    expected = distort(camera, rays) - 0.5  # the pixel whose centre is at u = 0.5 holds 0
    difference = image[..., :2].astype(float) - expected
    assert np.abs(difference).max() < 0.56  # half a step of rounding and the clamp at the edge
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.05  # half a pixel of shift in either axis would show here


@pytest.mark.parametrize("camera", [BARREL, FISHEYE, LensCamera("SIMPLE_RADIAL", (150.0, 98.0, 76.0, 0.4), 200, 150)])
def test_white_stays_white_everywhere(camera: LensCamera, tmp_path: Path):
    path = save(tmp_path / "white.png", np.full((150, 200, 3), 255, dtype=np.uint8))
    assert ImageLoader(path, camera)().min() == 255


def test_strips_agree_with_one_pass_by_loops():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    positions = sampling_map(BARREL, undistorted_camera(BARREL))
    result = resample_bilinear(image, sampling_strips(positions, 200, 150))
    for row, column in generator.integers(0, positions.shape[:2], (300, 2)):
        u, v = positions[row, column].astype(np.float64) - 0.5
        left, top = int(np.floor(u)), int(np.floor(v))
        a, b = u - left, v - top
        corner = image[np.ix_([top, min(top + 1, 149)], [left, min(left + 1, 199)])].astype(np.float64)
        wanted = (1 - b) * ((1 - a) * corner[0, 0] + a * corner[0, 1]) + b * ((1 - a) * corner[1, 0] + a * corner[1, 1])
        np.testing.assert_allclose(result[row, column], wanted, atol=0.51)


def test_large_maps_are_cut_into_strips():
    strips = sampling_strips(np.full((900, 400, 2), 10.0, dtype=np.float32), 400, 900).strips
    assert len(strips) > 5 and all(strip.last - strip.first < 5 for strip in strips)


@pytest.mark.slow
def test_undistorting_two_megapixels_is_quick():
    camera = LensCamera("OPENCV", (1375.0, 1374.0, 554.0, 965.0, 0.058, -0.08, -0.001, 0.0002), 1080, 1920)
    pixels = sampling_map(camera, undistorted_camera(camera))
    strips = sampling_strips(pixels, 1080, 1920)
    grid = torch.from_numpy(pixels / np.array([540, 960], dtype=np.float32) - 1)[None]
    image = np.random.default_rng(0).integers(0, 256, (1920, 1080, 3), dtype=np.uint8)
    whole = torch.from_numpy(image).float().permute(2, 0, 1)[None].contiguous()
    in_strips, at_once = [], []
    for _ in range(7):
        in_strips.append(_seconds(lambda: resample_bilinear(image, strips)))
        at_once.append(_seconds(lambda: torch.nn.functional.grid_sample(whole, grid, align_corners=False)))
    # With the conversions from and to bytes, twice what torch's own call takes on a picture of floats; six leaves room.
    assert min(in_strips) < 6 * min(at_once)


def _seconds(run) -> float:
    start = time.thread_time()  # the processor's time: other programs do not count
    run()
    return time.thread_time() - start


def test_nearest_sampling_invents_no_depth(tmp_path: Path):
    codes = np.where(np.arange(200)[None, :] < 90, 1000, 5000).repeat(150, axis=0).astype(np.uint16)
    codes[:, 40] = 65535
    depth = DepthLoader(save(tmp_path / "d.png", codes), BARREL)()
    assert set(np.unique(depth)) == {0.0, np.float32(1.0), np.float32(5.0)}
    rays, width, height = rays_of_pixels(BARREL)
    assert depth.shape == (height, width)
    far = distort(BARREL, rays)[..., 0] > 90
    clear = np.abs(distort(BARREL, rays)[..., 0] - 90) > 0.01
    assert ((depth == 5.0) == far)[clear & (depth > 0)].all()


def test_depth_of_another_resolution_covers_the_same_field(tmp_path: Path):
    codes = np.array([[1000, 2000, 3000], [4000, 5000, 0]], dtype=np.uint16)  # 3×2 for a picture of 12×8
    depth = DepthLoader(save(tmp_path / "d.png", codes), PINHOLE, units_per_code=0.0002, missing_code=65535)()
    np.testing.assert_allclose(depth, np.kron(codes * 0.0002, np.ones((4, 4))), rtol=1e-6)


def test_masks(tmp_path: Path):
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[2:5, 3:] = 1
    np.testing.assert_array_equal(MaskLoader(save(tmp_path / "m.png", mask), PINHOLE)(), mask > 0)
    np.testing.assert_array_equal(sample_nearest(mask, PINHOLE), mask)


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x4D12, (0x4D, 0x4D, 0x4D)),
        ("CMYK", (0, 255, 0, 0), (255, 0, 255)),
    ],
)
def test_other_pixel_formats(mode: str, pixel: object, expected: tuple[int, int, int], tmp_path: Path):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (12, 8), pixel).save(path)
    np.testing.assert_array_equal(ImageLoader(path, PINHOLE)(), np.broadcast_to(np.array(expected, dtype=np.uint8), (8, 12, 3)))


def test_sixteen_bit_colour(tmp_path: Path):
    """Pillow cannot write it, so the PNG is put together here."""
    row = b"\0" + struct.pack(">3H", 0xFF00, 0x8055, 0x0000) * 12
    body = [
        (b"IHDR", struct.pack(">IIBBBBB", 12, 8, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * 8)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in body
    )
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert ImageLoader(path, PINHOLE)()[3, 4].tolist() == [255, 128, 0]


def test_transparent_pixels_show_the_background(tmp_path: Path):
    rgba = np.zeros((8, 12, 4), dtype=np.uint8)
    rgba[..., :3], rgba[0, 0, 3], rgba[0, 1, 3] = (200, 100, 0), 255, 51
    path = save(tmp_path / "x.png", rgba)
    image = ImageLoader(path, PINHOLE, (0.0, 0.5, 1.0))()
    assert image[0, 0].tolist() == [200, 100, 0] and image[5, 5].tolist() == [0, 128, 255]
    assert image[0, 1].tolist() == [40, 122, 204]  # a fifth of the colour and four fifths of (0, 128, 255)
    assert ImageLoader(path, PINHOLE)()[5, 5].tolist() == [255, 255, 255]
    assert read_image_header(path).has_alpha and not read_image_header(save(tmp_path / "y.png", rgba[..., :3])).has_alpha


def test_exif_orientation_is_ignored(tmp_path: Path):
    """Poses belong to the pixels as stored."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90°"
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path, exif=exif)
    assert (read_image_header(path).width, read_image_header(path).height) == (12, 8)
    np.testing.assert_array_equal(ImageLoader(path, PINHOLE)(), pixels)


@pytest.mark.parametrize(("width", "height"), [(1237, 822), (1236, 821), (2473, 1643), (618, 411), (9892, 6572)])
def test_resized_copies_are_recognised_however_they_were_rounded(width: int, height: int):
    lens = match_lens_to_image(
        LensCamera("SIMPLE_RADIAL", (4000.0, 2400.0, 1650.0, 0.1), 4946, 3286), width, height, Path("x.jpg")
    )
    assert (lens.width, lens.height) == (width, height)
    np.testing.assert_allclose(lens.K[0], [4000 * width / 4946, 0, 2400 * width / 4946])


@pytest.mark.parametrize(("width", "height"), [(3286, 4946), (4946, 3000), (1236, 815), (100, 100)])
def test_other_pictures_are_refused(width: int, height: int):
    with pytest.raises(DataFormatError, match=r"x\.jpg.*4946×3286") as caught:
        match_lens_to_image(LensCamera("SIMPLE_RADIAL", (4000.0, 2400.0, 1650.0, 0.1), 4946, 3286), width, height, Path("x.jpg"))
    assert ("unrotated" in str(caught.value)) == ((width, height) == (3286, 4946))


# ---------------------------------------------------------------------------------------------------------------- errors


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("data", [jpeg_bytes()[:-40], png_bytes()[:-40], b"", b"not an image", b"GIF89a" + bytes(40)])
def test_broken_files_are_named(data: bytes, tmp_path: Path):
    path = tmp_path / "broken one.jpg"
    path.write_bytes(data)
    with pytest.raises(DataFormatError, match=r"broken one\.jpg"):
        ImageLoader(path, PINHOLE)()


def test_missing_files_and_folders_are_named(tmp_path: Path):
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(DataFormatError, match=str(path)):
            ImageLoader(path, PINHOLE)()


def test_an_image_of_another_size_is_refused_before_decoding(tmp_path: Path):
    path = save(tmp_path / "x.png", np.zeros((9, 12, 3), dtype=np.uint8))
    with pytest.raises(DataFormatError, match=r"x\.png.*12×8.*12×9"):
        ImageLoader(path, PINHOLE)()


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path):
    bomb = bytearray(png_bytes())
    bomb[16:24] = struct.pack(">II", 60000, 60000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    with pytest.raises(DataFormatError, match=r"bomb\.png"):
        read_image_header(path)


@pytest.mark.parametrize("pixels", [np.zeros((8, 12), dtype=np.uint8), np.zeros((8, 12, 3), dtype=np.uint8)])
def test_depth_must_have_sixteen_bits(pixels: np.ndarray, tmp_path: Path):
    with pytest.raises(DataFormatError, match="16-bit"):
        read_codes_u16(save(tmp_path / "d.png", pixels))


@pytest.mark.parametrize(("name", "data"), [("x.jpg", jpeg_bytes()), ("x.png", png_bytes())])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on corrupt metadata of pictures it still decodes
def test_damaged_images(name: str, data: bytes, tmp_path: Path):
    assert_reader_survives(lambda path: ImageLoader(path, PINHOLE)(), data, tmp_path / name, count=200)

"""Small captures as people have them: damaged, odd, of other systems or meant for other tools.  All are written by code."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.support.fabricated_folders import (
    HEIGHT,
    WIDTH,
    World,
    asymmetric_world,
    colmap_binary_files,
    photograph,
    write_colmap_binary,
    write_colmap_text,
    write_transforms,
)
from tests.support.hostile_inputs import Hostile, Writer, save_pixels, written

from scenewise.io.captures import open_capture, require_training_images, usable_frames


def used_images(path: Path) -> int:
    """How many images a command would learn from: opened, its split looked at, every pixel, depth and mask decoded."""
    capture = open_capture(path)
    frames = usable_frames(capture)
    require_training_images(capture)
    for frame in frames:
        for load in (frame.load_image, frame.load_depth, frame.load_mask):
            if load is not None:
                load()
    return len(frames)


def points_in(path: Path) -> int:
    """How many points a capture has."""
    points = open_capture(path).points
    return 0 if points is None else len(points)


# ------------------------------------------------------------------------------------------------------- transforms.json


def _edited(change: Callable[[dict[str, Any]], object]) -> Writer:
    """A good capture whose list is changed."""

    def write(folder: Path) -> None:
        write_transforms(folder, asymmetric_world())
        path = folder / "transforms.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return write


def _list_of_bytes(data: bytes | Callable[[bytes], bytes]) -> Writer:
    """A good capture whose list is replaced, or made from the good one."""

    def write(folder: Path) -> None:
        write_transforms(folder, asymmetric_world())
        path = folder / "transforms.json"
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))

    return write


def _first(key: str, value: object) -> Writer:
    """The first frame of the list has another value."""
    return _edited(lambda values: values["frames"][0].update({key: value}))


def _whole(**changes: object) -> Writer:
    return _edited(lambda values: values.update(changes))


def _named(name: Callable[[str], str]) -> Writer:
    """The list spells its files in another way."""
    return _edited(lambda values: [frame.update(file_path=name(frame["file_path"])) for frame in values["frames"]])


def _with_files(change: Writer, writer: Writer | None = None) -> Writer:
    """A good capture, then a change to its files."""

    def write(folder: Path) -> None:
        (writer or _whole())(folder)
        change(folder)

    return write


def _saved(suffix: str, save: Callable[[np.ndarray, Path], object]) -> Writer:
    """A capture whose pictures are written by ``save``, under another ending."""

    def write(folder: Path) -> None:
        world = asymmetric_world()
        write_transforms(folder, world)
        for name, pose in zip(world.names, world.world_from_camera):
            (folder / "images" / name).unlink()
            save(photograph(world, pose)[0], folder / "images" / Path(name).with_suffix(suffix))
        values = json.loads((folder / "transforms.json").read_text())
        for frame in values["frames"]:
            frame["file_path"] = frame["file_path"].removesuffix(".png") + suffix
        (folder / "transforms.json").write_text(json.dumps(values))

    return write


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels.mean(axis=2)


def _with_depth(suffix: str, save: Callable[[np.ndarray, Path], object]) -> Writer:
    """A good capture with a depth map of 3.5 metres for each view."""

    def write(folder: Path) -> None:
        world = asymmetric_world()
        write_transforms(folder, world)
        (folder / "depth").mkdir()
        values = json.loads((folder / "transforms.json").read_text())
        for number, frame in enumerate(values["frames"]):
            frame["depth_file_path"] = f"depth/{number}{suffix}"
            save(np.full((HEIGHT, WIDTH), 3.5), folder / frame["depth_file_path"])
        (folder / "transforms.json").write_text(json.dumps(values))

    return write


def _rename_all(suffix: str) -> Writer:
    """All pictures get another ending, without being converted."""

    def write(folder: Path) -> None:
        for path in sorted((folder / "images").iterdir()):
            path.rename(path.with_suffix(suffix))

    return write


def _mixed_sizes(folder: Path) -> None:
    """Every second picture at half its size; the list gives the angle of view alone."""
    write_transforms(folder, asymmetric_world())
    values = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.9, "frames": values["frames"]}))
    for path in sorted((folder / "images").iterdir())[::2]:
        Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(path)


_TURNED = [[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
_SCALED = [[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
_FAR = [[1.0, 0.0, 0.0, 1e30], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
_NAN = float("nan")
_SHEET = "expected one of: a COLMAP model"

_LISTS = [
    Hostile("list_empty", _list_of_bytes(b""), used_images, ("transforms.json: expected JSON",)),
    Hostile("list_cut", _list_of_bytes(lambda data: data[:700]), used_images, ("transforms.json: expected JSON", "cut short")),
    Hostile("list_of_nothing", _list_of_bytes(b"[]"), used_images, ("expected a JSON object, got list",)),
    Hostile("list_deep", _list_of_bytes(b"[" * 100_000), used_images, ("nesting too deep",)),
    Hostile("list_long_number", _list_of_bytes(b'{"w": ' + b"9" * 9000 + b"}"), used_images, ("transforms.json: expected JSON",)),
    Hostile("list_utf16", _list_of_bytes(lambda data: data.decode().encode("utf-16")), used_images, ("UTF-8",)),
    Hostile("list_latin", _list_of_bytes(b'{"frames": "\xfc"}'), used_images, ("UTF-8",)),
    Hostile("list_bom", _list_of_bytes(lambda data: b"\xef\xbb\xbf" + data), used_images, gives=4),
    Hostile("list_crlf", _list_of_bytes(lambda data: data.replace(b", ", b",\r\n")), used_images, gives=4),
    Hostile("list_zeros", _list_of_bytes(b"\0" * 400), used_images, ("transforms.json: expected JSON",)),
    Hostile("frames_none", _whole(frames=[]), used_images, ("an empty list of frames", "list the images")),
    Hostile("frames_word", _whole(frames="all"), used_images, ("frames: expected a list, got str",)),
    Hostile("frames_words", _whole(frames=["a", "b"]), used_images, ("frames[0]: expected an object, got str",)),
    Hostile(
        "frame_without_path", _edited(lambda values: values["frames"][2].pop("file_path")), used_images, ("frames[2]", "name")
    ),
    Hostile("frame_without_pose", _edited(lambda v: v["frames"][1].pop("transform_matrix")), used_images, ("frames[1]", "4×4")),
    Hostile(
        "frame_twice", _edited(lambda values: values["frames"].append(values["frames"][0])), used_images, ("each image once",)
    ),
    Hostile("path_number", _first("file_path", 7), used_images, ("frames[0].file_path: expected text, got 7",)),
    Hostile("path_empty", _first("file_path", ""), used_images, ("frames[0].file_path: expected a file name",)),
    Hostile("path_nul", _first("file_path", "a\0b.png"), used_images, ("frames[0].file_path: expected a file name",)),
    Hostile("path_surrogate", _first("file_path", "\ud800.png"), used_images, ("frames[0].file_path: expected a file name",)),
    Hostile("path_long", _first("file_path", "x" * 5000 + ".png"), used_images, ("3 of 4; missing",)),
    Hostile("path_folder", _first("file_path", "images"), used_images, ("3 of 4; missing",)),
    Hostile("path_root", _first("file_path", "/"), used_images, ("3 of 4; missing",)),
    Hostile("path_up", _first("file_path", ".."), used_images, ("3 of 4; missing",)),
    Hostile("path_backslash", _named(lambda path: path.replace("/", "\\")), used_images, gives=4),
    Hostile("path_backslash_dot", _named(lambda path: ".\\" + path.replace("/", "\\")), used_images, gives=4),
    Hostile("path_windows", _named(lambda path: "C:\\Users\\me\\" + path.replace("/", "\\")), used_images, gives=4),
    Hostile("path_of_another_home", _named(lambda path: "/home/alice/fox/" + path), used_images, gives=4),
    Hostile("path_upper_case", _named(lambda path: path.upper()), used_images, gives=4),
    Hostile("path_without_ending", _named(lambda path: path.removesuffix(".png")), used_images, gives=4),
    Hostile(
        "ending_in_capitals_not_listed",
        _with_files(_rename_all(".PNG"), _named(lambda path: path.removesuffix(".png"))),
        used_images,
        gives=4,
    ),
    Hostile("ending_in_capitals", _with_files(_rename_all(".PNG")), used_images, gives=4),
    Hostile(
        "another_ending",
        _with_files(_rename_all(".jpg")),
        used_images,
        ("0 of 4 listed", "view 0.png (view 0.jpg is there)", "put the images"),
    ),
    Hostile(
        "two_endings",
        _with_files(
            lambda folder: (folder / "images/view 0.jpg").write_bytes((folder / "images/view 0.png").read_bytes()),
            _named(lambda path: path.removesuffix(".png")),
        ),
        used_images,
        warns=("took view 0.jpg and not view 0.png beside it", "give the ending"),
        gives=4,
    ),
    Hostile("size_negative", _whole(w=-5), used_images, ("frames[0].w, h", "-5×64")),
    Hostile("size_zero", _whole(h=0), used_images, ("frames[0].w, h", "96×0")),
    Hostile("size_words", _whole(w="96"), used_images, ("frames[0].w: expected a number, got '96'",)),
    Hostile("size_beyond_floats", _whole(w=10**400), used_images, ("frames[0].w: expected a finite number",)),
    Hostile("size_of_others", _whole(w=50, h=50), used_images, ("image size", "96×64")),
    Hostile("sizes_mixed_and_not_listed", _mixed_sizes, used_images, gives=4),
    Hostile("focal_zero", _whole(fl_x=0.0, fl_y=0.0), used_images, ("focal lengths above 0",)),
    Hostile("focal_none", _edited(lambda v: [v.pop(key) for key in ("fl_x", "fl_y")]), used_images, ("add the focal length",)),
    Hostile("focal_tiny", _whole(fl_x=1e-300, fl_y=1e-300), used_images, ("frames[0]: focal length", "in pixels")),
    Hostile("distortion_huge", _whole(k1=1e300), used_images, ("next to nothing visible",)),
    Hostile("distortion_nan", _whole(k1=_NAN), used_images, ("frames[0].k1: expected a finite number",)),
    Hostile(
        "panorama", _whole(camera_model="EQUIRECTANGULAR"), used_images, ("EQUIRECTANGULAR", "cut the panoramas", "panorama_sfm")
    ),
    Hostile("model_unknown", _whole(camera_model="LENSBABY"), used_images, ("camera_model", "LENSBABY", "image_undistorter")),
    Hostile(
        "pose_nan", _first("transform_matrix", [[_NAN] * 4] * 4), used_images, ("frames[0].transform_matrix", "remove the frame")
    ),
    Hostile("pose_huge", _first("transform_matrix", _FAR), used_images, ("a camera within 1e+10", "1e+30", "remove the frame")),
    Hostile("pose_integers", _first("transform_matrix", [[10**400] * 4] * 4), used_images, ("frames[0].transform_matrix", "4×4")),
    Hostile("pose_flat", _first("transform_matrix", [0.0] * 16), used_images, ("frames[0].transform_matrix", "last row 0 0 0 1")),
    Hostile("pose_words", _first("transform_matrix", "identity"), used_images, ("frames[0].transform_matrix",)),
    Hostile("pose_mirrored", _first("transform_matrix", _TURNED), used_images, ("determinant −1", "flipped axis")),
    Hostile("pose_scaled", _first("transform_matrix", _SCALED), used_images, ("orthonormal", "remove scale")),
    Hostile("split_without_training", _whole(train_filenames=[]), used_images, ("0 training images", "correct train_filenames")),
    Hostile("split_word", _whole(train_filenames="all"), used_images, ("train_filenames: expected a list of file names",)),
    Hostile(
        "split_of_others", _whole(test_filenames=["images/9.png"]), used_images, ("file_paths of frames", "correct the name")
    ),
    Hostile("points_gone", _whole(ply_file_path="a.ply"), used_images, warns=("a.ply, which does not exist",), gives=4),
    Hostile("points_folder", _whole(ply_file_path="images"), used_images, warns=("images, which does not exist",), gives=4),
]


def _pipe(folder: Path) -> None:
    (folder / "images/view 2.png").unlink()
    os.mkfifo(folder / "images/view 2.png")


def _loop(folder: Path) -> None:
    (folder / "images/view 2.png").unlink()
    (folder / "images/view 2.png").symlink_to("view 2.png")


def _hidden_files(folder: Path) -> None:
    """What macOS leaves on disks of others."""
    for name in ("._view 0.png", ".DS_Store", "._transforms.json"):
        (folder / "images" / name).write_bytes(b"\0\5\x16\7" + b"\0" * 80)
        (folder / name).write_bytes(b"\0\5\x16\7" + b"\0" * 80)


_FILES = [
    Hostile("image_is_a_pipe", _with_files(_pipe), used_images, ("3 of 4; missing", "view 2.png")),
    Hostile("image_is_a_loop", _with_files(_loop), used_images, ("3 of 4; missing", "view 2.png")),
    Hostile(
        "image_empty", _with_files(lambda d: (d / "images/view 1.png").write_bytes(b"")), used_images, ("an empty file", "copy")
    ),
    Hostile(
        "image_text", _with_files(lambda d: (d / "images/view 0.png").write_text("hello")), used_images, ("a readable image",)
    ),
    Hostile(
        "image_cut",
        _with_files(lambda d: (d / "images/view 1.png").write_bytes((d / "images/view 1.png").read_bytes()[:200])),
        used_images,
        ("view 1.png: expected a readable image", "copy it again"),
    ),
    Hostile("hidden_files", _with_files(_hidden_files), used_images, gives=4),
    Hostile(
        "many_other_files",
        _with_files(lambda folder: [(folder / f"images/{number}.txt").touch() for number in range(1000)]),
        used_images,
        gives=4,
    ),
    Hostile("nothing", lambda folder: None, used_images, (_SHEET, "pass the folder")),
    Hostile("pictures_alone", _with_files(lambda folder: (folder / "transforms.json").unlink()), used_images, ("4 images",)),
    Hostile("hidden_pictures_alone", lambda folder: (folder / "._0.jpg").touch(), used_images, ("got none of them",)),
    Hostile("list_is_a_folder", lambda folder: (folder / "transforms.json").mkdir(), used_images, (_SHEET,)),
    Hostile("capture_is_null", lambda folder: Path(os.devnull), used_images, (os.devnull, _SHEET)),
    Hostile("capture_is_gone", lambda folder: folder / ("y" * 300), used_images, ("no such folder", "check the path")),
    Hostile("capture_is_a_text", lambda folder: written(folder / "a.txt", b"hello"), used_images, ("a.txt", "pass the folder")),
    Hostile("png_16_bits", _saved(".png", lambda p, f: save_pixels((_grey(p) * 257).astype(np.uint16), f)), used_images, gives=4),
    Hostile("grey_jpeg", _saved(".jpg", lambda p, f: save_pixels(_grey(p).astype(np.uint8), f)), used_images, gives=4),
    Hostile("cmyk_jpeg", _saved(".jpg", lambda p, f: Image.fromarray(p).convert("CMYK").save(f)), used_images, gives=4),
    Hostile("palette", _saved(".png", lambda p, f: Image.fromarray(p).quantize(16).save(f)), used_images, gives=4),
    Hostile("bmp", _saved(".bmp", save_pixels), used_images, gives=4),
    Hostile("webp", _saved(".webp", save_pixels), used_images, gives=4),
    Hostile("tiff", _saved(".tiff", save_pixels), used_images, gives=4),
    Hostile("png_called_jpg", _saved(".jpg", lambda p, f: save_pixels(p, f, format="PNG")), used_images, gives=4),
    Hostile("gif", _saved(".gif", save_pixels), used_images, (".gif", "convert the pictures to JPEG or PNG")),
    Hostile(
        "heic",
        _saved(".heic", lambda p, f: f.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 90)),
        used_images,
        (".heic", "convert the pictures to JPEG or PNG"),
    ),
    Hostile("float_tiff", _saved(".tif", lambda p, f: save_pixels((_grey(p) / 255).astype(np.float32), f)), used_images, gives=4),
    Hostile(
        "float_tiff_of_another_range",
        _saved(".tif", lambda p, f: save_pixels(_grey(p).astype(np.float32), f)),
        used_images,
        ("floating-point pixels from", "[0, 1] is expected"),
    ),
    Hostile(
        "depth_16_bits", _with_depth(".png", lambda z, f: save_pixels((z * 1000).astype(np.uint16), f)), used_images, gives=4
    ),
    Hostile("depth_npy", _with_depth(".npy", lambda z, f: np.save(f, z.astype(np.float32))), used_images, gives=4),
    Hostile("depth_float_tiff", _with_depth(".tiff", lambda z, f: save_pixels(z.astype(np.float32), f)), used_images, gives=4),
    Hostile(
        "depth_8_bits",
        _with_depth(".png", lambda z, f: save_pixels((z * 9).astype(np.uint8), f)),
        used_images,
        ("one 8-bit", "16-bit PNG"),
    ),
    Hostile(
        "depth_exr", _with_depth(".exr", lambda z, f: f.write_bytes(b"\x76\x2f\x31\x01")), used_images, (".exr", "16-bit PNG")
    ),
    Hostile(
        "depth_colours",
        _with_depth(".png", lambda z, f: save_pixels(np.zeros((4, 4, 3), np.uint8), f)),
        used_images,
        ("colours", "16-bit PNG"),
    ),
]


# ------------------------------------------------------------------------------------------------------------- COLMAP


def _colmap_text(change: Writer | None = None, **options: Any) -> Writer:
    def write(folder: Path) -> None:
        write_colmap_text(folder, asymmetric_world(), **options)
        if change is not None:
            change(folder / "sparse/0")

    return write


def _colmap_binary(name: str, data: bytes | Callable[[bytes], bytes]) -> Writer:
    def write(folder: Path) -> None:
        write_colmap_binary(folder, asymmetric_world())
        path = folder / "sparse/0" / name
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))

    return write


def _text(name: str, change: Callable[[str], str]) -> Writer:
    return _colmap_text(lambda model: (model / name).write_text(change((model / name).read_text())))


def _two_models(folder: Path) -> None:
    """The first model has two of the photographs, the second all."""
    world = asymmetric_world()
    write_colmap_binary(folder, world)
    (folder / "sparse/0").rename(folder / "sparse/1")
    (folder / "sparse/0").mkdir()
    few = World(world.points, world.colors_u8, world.world_from_camera[:2], world.names[:2])
    for name, data in colmap_binary_files(few).items():
        (folder / "sparse/0" / name).write_bytes(data)


def _undistorted(folder: Path) -> None:
    """What COLMAP's undistorter makes of a workspace."""
    write_colmap_binary(folder / "dense/0", asymmetric_world())
    (folder / "dense/0/sparse/0").rename(folder / "dense/0/model")
    (folder / "dense/0/sparse").rmdir()
    (folder / "dense/0/model").rename(folder / "dense/0/sparse")


def _points_as_ply(model: Path) -> None:
    (model / "points3D.txt").unlink()
    (model / "points3D.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 2\n"
        + "".join(f"property float {axis}\n" for axis in "xyz")
        + "end_header\n0 0 1\n1 0 nan\n"
    )


def _camera(model_id: int, *params: float) -> bytes:
    return struct.pack("<QIiQQ", 1, 7, model_id, WIDTH, HEIGHT) + struct.pack(f"<{len(params)}d", *params)


def _bom(model: Path) -> None:
    for path in model.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def _features_removed(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#") or ".png" in line) + "\n"


_COLMAP = [
    Hostile("colmap_bom", _colmap_text(_bom), used_images, gives=4),
    Hostile("colmap_crlf", _text("images.txt", lambda text: text.replace("\n", "\r\n")), used_images, gives=4),
    Hostile(
        "colmap_two_models", _two_models, used_images, warns=("2 COLMAP models", "sparse/1 with 4", "sparse/0 with 2"), gives=4
    ),
    Hostile("colmap_undistorted", _undistorted, used_images, gives=4),
    Hostile("colmap_without_feature_lines", _text("images.txt", _features_removed), used_images, gives=4),
    Hostile("colmap_points_as_ply", _colmap_text(_points_as_ply), points_in, warns=("1 with NaN or infinity of 2",), gives=1),
    Hostile(
        "colmap_back_slashes", _text("images.txt", lambda t: t.replace("view 0", "images\\view 0")), used_images, ("3 of 4",)
    ),
    Hostile("colmap_capitals", _with_files(_rename_all(".PNG"), _colmap_text()), used_images, gives=4),
    Hostile("colmap_another_ending", _with_files(_rename_all(".jpg"), _colmap_text()), used_images, ("(view 0.jpg is there)",)),
    Hostile(
        "colmap_panorama", _colmap_binary("cameras.bin", _camera(17, 96.0, 64.0)), used_images, ("EQUIRECTANGULAR", "cut the")
    ),
    Hostile(
        "colmap_panorama_text",
        _colmap_text(camera="EQUIRECTANGULAR 96 64 96 64"),
        used_images,
        ("cameras.txt: line 2", "cut the"),
    ),
    Hostile(
        "colmap_unknown_camera",
        _colmap_binary("cameras.bin", _camera(42, 1.0, 1.0, 1.0)),
        used_images,
        ("model 42", "image_undistorter"),
    ),
    Hostile(
        "colmap_no_focal",
        _colmap_binary("cameras.bin", _camera(1, 0.0, 0.0, 48.0, 32.0)),
        used_images,
        ("focal lengths above 0",),
    ),
    Hostile("colmap_huge_picture", _colmap_text(camera="PINHOLE 9999999 64 80 70 50 29"), used_images, ("9999999×64",)),
    Hostile("colmap_cameras_empty", _colmap_binary("cameras.bin", b""), used_images, ("cameras.bin", "an empty file", "export")),
    Hostile(
        "colmap_many_cameras",
        _colmap_binary("cameras.bin", struct.pack("<Q", 2**63)),
        used_images,
        ("cameras.bin: header", "truncated"),
    ),
    Hostile("colmap_images_cut", _colmap_binary("images.bin", lambda data: data[:150]), used_images, ("images.bin", "truncated")),
    Hostile(
        "colmap_many_features",
        _colmap_binary("images.bin", lambda d: d[:83] + b"\xff" * 8 + d[91:]),
        used_images,
        ("images.bin",),
    ),
    Hostile(
        "colmap_points_cut", _colmap_binary("points3D.bin", lambda data: data[:-30]), used_images, ("points3D.bin", "truncated")
    ),
    Hostile("colmap_without_points", _colmap_binary("points3D.bin", struct.pack("<Q", 0)), points_in, gives=0),
    Hostile(
        "colmap_other_camera",
        _text("images.txt", lambda t: t.replace(" 7 view 0", " 8 view 0")),
        used_images,
        ("camera 8", "export both"),
    ),
    Hostile(
        "colmap_word_for_number",
        _text("images.txt", lambda t: t.replace("2 0.", "2 zero.", 1)),
        used_images,
        ("images.txt: line",),
    ),
    Hostile(
        "colmap_binary_as_text",
        _colmap_text(lambda m: (m / "images.txt").write_bytes(b"\xff\xfe\0")),
        used_images,
        ("UTF-8", "export"),
    ),
    Hostile(
        "colmap_far_points",
        _text("points3D.txt", lambda text: text + "98 1e30 0 0 1 2 3 0.5\n99 nan 0 0 1 2 3 0.5\n"),
        points_in,
        warns=("1 with NaN or infinity and 1 beyond 1e+10 of 14 points",),
        gives=12,
    ),
]

HOSTILE_CAPTURES = (*_LISTS, *_FILES, *_COLMAP)

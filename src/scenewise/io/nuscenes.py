"""Keyframes of nuScenes in the official layout: a LiDAR sweep, the cameras around it, boxes and point labels.

v1.0-mini/*.json                          tables: lists of records linked by tokens
samples/CAM_FRONT/….jpg                   1600×900, rectified
samples/LIDAR_TOP/….pcd.bin               f32 x, y, z, intensity, ring per point, in the LiDAR's frame
lidarseg/v1.0-mini/…_lidarseg.bin         optional, u8 category index per point

Every sensor fires at its own time, and the car moves in between, so a point reaches a camera through the world:

    camera ← ego at the camera's time ← global ← ego at the LiDAR's time ← LiDAR

The world frame of what is read here is the car's at the LiDAR's time (+X forward, +Y left, +Z up), not the global one: there,
coordinates have four digits before the point and lose a tenth of a millimetre in float32.  ``Capture.world_from_source`` is
world_from_global, whose inverse leads back.
"""

import json
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, UInt8

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.geometry.transforms import transform_points
from scenewise.io.bounded import open_bounded
from scenewise.io.images import Background, lens_camera_or_error
from scenewise.io.json_fields import JsonFields
from scenewise.io.views import ListedView, check_text, frames_of_views, is_file, rigid_inverse, safe_name
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud

NUSCENES_CLASSES = (
    "barrier",
    "bicycle",
    "bus",
    "car",
    "construction vehicle",
    "motorcycle",
    "pedestrian",
    "traffic cone",
    "trailer",
    "truck",
    "driveable surface",
    "other flat",
    "sidewalk",
    "terrain",
    "manmade",
    "vegetation",
)
"""The 16 classes of the lidarseg challenge; position = class id."""

CLASS_OF_CATEGORY: Mapping[str, str] = MappingProxyType(
    {
        "movable_object.barrier": "barrier",
        "vehicle.bicycle": "bicycle",
        "vehicle.bus.bendy": "bus",
        "vehicle.bus.rigid": "bus",
        "vehicle.car": "car",
        "vehicle.construction": "construction vehicle",
        "vehicle.motorcycle": "motorcycle",
        "human.pedestrian.adult": "pedestrian",
        "human.pedestrian.child": "pedestrian",
        "human.pedestrian.construction_worker": "pedestrian",
        "human.pedestrian.police_officer": "pedestrian",
        "movable_object.trafficcone": "traffic cone",
        "vehicle.trailer": "trailer",
        "vehicle.truck": "truck",
        "flat.driveable_surface": "driveable surface",
        "flat.other": "other flat",
        "flat.sidewalk": "sidewalk",
        "flat.terrain": "terrain",
        "static.manmade": "manmade",
        "static.vegetation": "vegetation",
    }
)
"""Class of each of the 32 categories; the others are not scored.  By name, because published tables order the flat.* ones
differently."""

LICENCE = "CC BY-NC-SA 4.0"
LIDAR_CHANNEL = "LIDAR_TOP"
_VERSION = re.compile(r"v\d+\.\d+-\w+")
_POINT = 5  # float32 per LiDAR point
_CHUNK = 1 << 20
_MAX_RECORD = 1 << 20  # characters; real records have about 500


@dataclass(frozen=True)
class NuscenesBox:
    """An annotated object.

    Attributes:
        category: name, for example "vehicle.car".
        center_in_world: metres.
        size: width, length, height, metres.
        world_from_box: rotation; the box's +X is its length.
        instance: token of the object, the same in all keyframes.
    """

    category: str
    center_in_world: Float64[np.ndarray, "3"]
    size: tuple[float, float, float]
    world_from_box: Float64[np.ndarray, "3 3"]
    instance: str


@dataclass(frozen=True)
class NuscenesKeyframe:
    """One annotated moment.

    Attributes:
        token: of the sample.
        scene: name, for example "scene-0061".
        capture: the cameras that fired (frames named by file), and the sweep as its points.
        points_in_lidar: the sweep as stored.
        intensity: of each point.
        ring: beam of each point.
        world_from_lidar: how the capture's points were made of it.
        boxes: annotations of this moment.
        category_index: of each point, index into ``categories``; None without lidarseg.
        categories: name by index; empty without lidarseg.
    """

    token: str
    scene: str
    capture: Capture
    points_in_lidar: Float32[np.ndarray, "n 3"]
    intensity: Float32[np.ndarray, "n"]
    ring: Float32[np.ndarray, "n"]
    world_from_lidar: Float64[np.ndarray, "4 4"]
    boxes: tuple[NuscenesBox, ...]
    category_index: UInt8[np.ndarray, "n"] | None = None
    categories: Mapping[int, str] = field(default_factory=dict)

    @property
    def class_ids(self) -> Int32[np.ndarray, "n"] | None:
        """Class of each point, index into ``NUSCENES_CLASSES``, −1 = not scored; None without lidarseg."""
        if self.category_index is None:
            return None
        table = np.full(256, -1, dtype=np.int32)
        for index, name in self.categories.items():
            if name in CLASS_OF_CATEGORY:
                table[index] = NUSCENES_CLASSES.index(CLASS_OF_CATEGORY[name])
        ids: np.ndarray = table[self.category_index]
        return ids


def find_nuscenes_tables(path: Path) -> Path | None:
    """The folder of tables (``v1.0-mini``) in a data root, or ``path`` itself when it is one; None where there is none.

    Raises:
        DataFormatError: the root holds several versions.
    """
    if _VERSION.fullmatch(path.name) and is_file(path / "sample_data.json"):
        return path
    if not path.is_dir():
        return None
    found = sorted(entry for entry in path.glob("v*-*") if _VERSION.fullmatch(entry.name) and is_file(entry / "sample_data.json"))
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise DataFormatError(path, expected="one version", got=names, fix=f"pass one of them, for example {found[0]}")
    return found[0] if found else None


def list_nuscenes_keyframes(path: Path) -> list[tuple[str, str]]:
    """(scene name, sample token) of every keyframe, in order of scenes and time."""
    tables = _tables(path)
    scenes = {
        fields.text("token"): (number, fields.text("name")) for number, fields in enumerate(_records(tables / "scene.json", None))
    }
    listed = []
    for fields in _records(tables / "sample.json", None):
        scene = fields.text("scene_token")
        if scene not in scenes:
            raise fields.wrong("scene_token", "a token of scene.json", scene)
        listed.append((scenes[scene], fields.integer("timestamp"), fields.text("token")))
    return [(name, token) for (_, name), _, token in sorted(listed)]


def read_nuscenes(path: Path, sample: str | None = None, *, background: Background | None = None) -> NuscenesKeyframe:
    """One keyframe.

    Tables are read record by record, so memory does not grow with the data set.

    Args:
        path: the data root, or its folder of tables.
        sample: token of the keyframe; None takes the first one.
        background: colour behind transparent pixels.

    Returns:
        The keyframe; a camera whose image file is missing is a frame without image.

    Raises:
        DataFormatError: no such layout or sample, links that lead nowhere, damaged records or files.
    """
    tables = _tables(path)
    root = tables.parent
    keyframes = list_nuscenes_keyframes(path)
    if not keyframes:
        raise DataFormatError(tables / "sample.json", expected="at least one sample", got="none")
    chosen = keyframes[0] if sample is None else next((pair for pair in keyframes if pair[1] == sample), None)
    if chosen is None:
        raise DataFormatError(
            tables / "sample.json", expected=f"the sample {sample}", got=f"{len(keyframes)} others", fix="list_nuscenes_keyframes"
        )
    scene, token = chosen

    shots = [
        fields
        for fields in _records(tables / "sample_data.json", ("sample_token", {token}))
        if fields.mapping_value("is_key_frame") is True
    ]
    calibrations = _by_token(tables / "calibrated_sensor.json", {shot.text("calibrated_sensor_token") for shot in shots})
    poses = _by_token(tables / "ego_pose.json", {shot.text("ego_pose_token") for shot in shots})
    sensors = _by_token(tables / "sensor.json", {record.text("sensor_token") for record in calibrations.values()})

    lidar: _Shot | None = None
    cameras: list[_Shot] = []
    for fields in shots:
        calibration = _linked(fields, "calibrated_sensor_token", calibrations)
        sensor = _linked(calibration, "sensor_token", sensors)
        shot = _Shot(
            fields,
            calibration,
            sensor.text("channel"),
            ego_from_sensor=_rigid(calibration),
            global_from_ego=_rigid(_linked(fields, "ego_pose_token", poses)),
        )
        if sensor.text("modality") == "camera":
            cameras.append(shot)
        elif shot.channel == LIDAR_CHANNEL:
            lidar = shot
    if lidar is None:
        raise DataFormatError(tables / "sample_data.json", f"sample {token}", expected=f"a record of {LIDAR_CHANNEL}", got="none")

    world_from_global = _inverse(lidar.global_from_ego)
    views = [_view(root, shot) for shot in cameras]
    camera_from_world = np.array(
        [camera_from_lidar_ego(shot.ego_from_sensor, shot.global_from_ego, lidar.global_from_ego) for shot in cameras]
    ).reshape(-1, 4, 4)
    frames, in_effect = frames_of_views(
        tables / "sample_data.json", views, torch.from_numpy(np.ascontiguousarray(camera_from_world)), background
    )
    sweep = _read_sweep(root / _file_name(lidar.record))
    category_index, categories = _read_lidarseg(tables, lidar.record.text("token"), len(sweep))
    points_in_lidar = np.ascontiguousarray(sweep[:, :3])
    return NuscenesKeyframe(
        token=token,
        scene=scene,
        capture=Capture(
            root=root,
            source_format="nuscenes",
            frames=frames,
            points=PointCloud(transform_points(lidar.ego_from_sensor, points_in_lidar.astype(np.float64))),
            scale="metric",
            up_in_world=np.array([0.0, 0.0, 1.0]),
            world_from_source=world_from_global,
            background=in_effect,
            licence=LICENCE,
        ),
        points_in_lidar=points_in_lidar,
        intensity=np.ascontiguousarray(sweep[:, 3]),
        ring=np.ascontiguousarray(sweep[:, 4]),
        world_from_lidar=lidar.ego_from_sensor,
        boxes=_read_boxes(tables, token, world_from_global),
        category_index=category_index,
        categories=categories,
    )


def read_lidar_sweep(
    path: str | Path,
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Points in the LiDAR's frame, intensity (0 … 255) and ring of a ``.pcd.bin`` file by itself.

    Raises:
        DataFormatError: no whole number of points, or values that are not finite.
    """
    sweep = _read_sweep(Path(path))
    return np.ascontiguousarray(sweep[:, :3]), np.ascontiguousarray(sweep[:, 3]), np.ascontiguousarray(sweep[:, 4])


def read_nuscenes_capture(path: Path, *, background: Background | None = None) -> Capture:
    """The first keyframe's capture; a warning says so where there are more."""
    count = len(list_nuscenes_keyframes(path))
    if count > 1:
        warnings.warn(
            f"{path}: taking the first of {count} keyframes; read_nuscenes(path, sample=token) reads another", CaptureWarning, 2
        )
    return read_nuscenes(path, background=background).capture


def camera_from_lidar_ego(
    ego_from_camera: Float64[np.ndarray, "4 4"],
    global_from_ego_at_camera: Float64[np.ndarray, "4 4"],
    global_from_ego_at_lidar: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "4 4"]:
    """camera ← ego at the camera's time ← global ← ego at the LiDAR's time.

    The two ego poses are brought together first, about the LiDAR's place: their difference is centimetres, and the thousands
    of metres to the global origin cancel before anything is rotated.
    """
    shift = global_from_ego_at_lidar[:3, 3] - global_from_ego_at_camera[:3, 3]
    ego_from_ego = np.eye(4)
    turn = global_from_ego_at_camera[:3, :3].T
    ego_from_ego[:3, :3] = turn @ global_from_ego_at_lidar[:3, :3]
    ego_from_ego[:3, 3] = turn @ shift
    return _inverse(ego_from_camera) @ ego_from_ego


# ------------------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class _Shot:
    """What one sensor recorded, with where it was."""

    record: "_Record"
    calibration: "_Record"
    channel: str
    ego_from_sensor: Float64[np.ndarray, "4 4"]
    global_from_ego: Float64[np.ndarray, "4 4"]


class _Record(JsonFields):
    """One record of a table; keys that are not asked for are allowed, since releases add some."""

    def __init__(self, path: Path, place: str, value: object) -> None:
        super().__init__(path, place, value)
        self._raw = value

    def mapping_value(self, key: str) -> object:
        """What stands under a key, of any type; None without it."""
        return self._raw.get(key) if isinstance(self._raw, dict) else None


def _tables(path: Path) -> Path:
    tables = find_nuscenes_tables(path)
    if tables is None:
        raise DataFormatError(path, expected="v1.0-…/sample_data.json", got="no such folder of tables", fix="pass the data root")
    return tables


def _bad_record(path: Path, number: int, got: object) -> DataFormatError:
    return DataFormatError(path, f"record {number}", expected="a list of JSON objects", got=str(got)[:120], fix="copy it again")


def _records(path: Path, wanted: tuple[str, Collection[str]] | None) -> Iterator[_Record]:
    """Records of a table (all, or those whose key has one of some values), read piece by piece."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    with open_bounded(path) as (file, _):
        text, position, number, at_end, opened = "", 0, 0, False, False
        while True:
            if not at_end and len(text) - position < _MAX_RECORD:
                piece = file.read(_CHUNK)
                at_end = not piece
                try:
                    # Tables are ASCII with escapes; a character cut in two would be of a foreign file.
                    text, position = text[position:] + piece.decode("utf-8"), 0
                except UnicodeDecodeError as error:
                    raise _bad_record(path, number, error) from error
            position = _skip(text, position)
            if position == len(text) and not at_end:
                continue
            here = text[position : position + 1]
            if not opened:
                if here != "[":
                    raise _bad_record(path, number, f"a file that begins with {here!r}")
                opened, position = True, position + 1
            elif here == "]":
                rest = _skip(text, position + 1)
                if rest != len(text) or file.read(1):
                    raise _bad_record(path, number, "something after the list")
                return
            else:
                if number:
                    if here != ",":
                        raise _bad_record(path, number, f"{here!r} between records" if here else "the end of the file")
                    position = _skip(text, position + 1)
                try:
                    value, position = decoder.raw_decode(text, position)
                except (ValueError, RecursionError) as error:
                    raise _bad_record(path, number, error) from error
                if not isinstance(value, dict):
                    raise _bad_record(path, number, type(value).__name__)
                number += 1
                key = None if wanted is None else value.get(wanted[0])
                if wanted is None or (isinstance(key, str) and key in wanted[1]):
                    yield _Record(path, f"record {number - 1}", value)


def _skip(text: str, position: int) -> int:
    """The next place that is not white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no finite number")


def _by_token(path: Path, tokens: set[str]) -> dict[str, _Record]:
    return {record.text("token"): record for record in _records(path, ("token", tokens))}


def _linked(record: _Record, key: str, targets: Mapping[str, _Record]) -> _Record:
    token = record.text(key)
    if token not in targets:
        raise record.wrong(key, "a token of the linked table", repr(token), "the tables are incomplete; unpack them again")
    return targets[token]


def _rigid(record: _Record) -> Float64[np.ndarray, "4 4"]:
    """target_from_source of a record's translation and wxyz rotation."""
    quat = record.array("rotation", (4,))
    if abs(float(np.linalg.norm(quat)) - 1) > 1e-3:
        raise record.wrong("rotation", "a unit quaternion wxyz", quat.tolist())
    transform = np.eye(4)
    transform[:3, :3] = rotation_from_quat(torch.from_numpy(quat)).numpy()
    transform[:3, 3] = record.array("translation", (3,))
    return transform


def _inverse(transform: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    inverse: np.ndarray = rigid_inverse(torch.from_numpy(transform)[None])[0].numpy()
    return inverse


def _file_name(record: _Record) -> str:
    return safe_name(check_text(record.path, record.place, record.text("filename")))


def _view(root: Path, shot: _Shot) -> ListedView:
    name = _file_name(shot.record)
    K = shot.calibration.array("camera_intrinsic", (3, 3))
    if np.abs(K[2] - [0, 0, 1]).max() > 1e-9 or abs(K[0, 1]) > 1e-9 or abs(K[1, 0]) > 1e-9:
        raise shot.calibration.wrong("camera_intrinsic", "fx 0 cx / 0 fy cy / 0 0 1", K.tolist())
    # Drawn by the data set's own tools, (0, 0) is the centre of the first pixel.
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5)
    width, height = (shot.record.integer(key, minimum=1, maximum=1 << 20) for key in ("width", "height"))
    place = f"{shot.record.place} ({shot.channel})"
    return ListedView(
        name=name,
        image_path=root / name,
        lens_camera=lens_camera_or_error(shot.record.path, place, "PINHOLE", params, width, height),
        place=place,
    )


def _read_sweep(path: Path) -> Float32[np.ndarray, "n 5"]:
    with open_bounded(path) as (file, size):
        if size % (4 * _POINT):
            raise DataFormatError(path, expected=f"rows of {4 * _POINT} bytes", got=f"{size:,} bytes", fix="copy the file again")
        sweep = np.frombuffer(file.read(size), dtype="<f4").astype(np.float32).reshape(-1, _POINT)
    if not np.isfinite(sweep).all():
        row = int((~np.isfinite(sweep)).any(axis=1).argmax())
        raise DataFormatError(path, f"point {row}", expected="finite numbers", got=sweep[row].tolist())
    return sweep


def _read_lidarseg(tables: Path, sweep_token: str, count: int) -> tuple[UInt8[np.ndarray, "n"] | None, Mapping[int, str]]:
    if not is_file(tables / "lidarseg.json"):
        return None, {}
    record = next(_records(tables / "lidarseg.json", ("sample_data_token", {sweep_token})), None)
    if record is None:
        return None, {}
    path = tables.parent / _file_name(record)
    with open_bounded(path) as (file, size):
        if size != count:
            raise DataFormatError(path, expected=f"{count:,} bytes, one per point", got=f"{size:,}", fix="copy the file again")
        index = np.frombuffer(file.read(size), dtype=np.uint8).copy()
    names: dict[int, str] = {
        int(record.integer("index", maximum=255)): str(record.text("name")) for record in _records(tables / "category.json", None)
    }
    unknown = sorted(set(np.unique(index).tolist()) - set(names))
    if unknown:
        raise DataFormatError(path, expected="indices of category.json", got=unknown[:8])
    return index, names


def _read_boxes(tables: Path, sample: str, world_from_global: Float64[np.ndarray, "4 4"]) -> tuple[NuscenesBox, ...]:
    if not is_file(tables / "sample_annotation.json"):
        return ()
    annotations = list(_records(tables / "sample_annotation.json", ("sample_token", {sample})))
    instances = _by_token(tables / "instance.json", {record.text("instance_token") for record in annotations})
    categories = _by_token(tables / "category.json", {record.text("category_token") for record in instances.values()})
    boxes = []
    for record in annotations:
        instance = _linked(record, "instance_token", instances)
        global_from_box = _rigid(record)
        size: Any = record.array("size", (3,)).tolist()
        boxes.append(
            NuscenesBox(
                category=_linked(instance, "category_token", categories).text("name"),
                center_in_world=transform_points(world_from_global, global_from_box[:3, 3]),
                size=(size[0], size[1], size[2]),
                world_from_box=world_from_global[:3, :3] @ global_from_box[:3, :3],
                instance=instance.text("token"),
            )
        )
    return tuple(boxes)

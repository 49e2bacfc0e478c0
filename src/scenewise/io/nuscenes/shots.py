"""What each sensor recorded at its own time, brought into one world."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import DataFormatError
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.nuscenes.tables import (
    TableRecord,
    file_name_of,
    linked_record,
    read_records,
    records_by_token,
    target_from_source,
)
from scenewise.io.views import ListedView, rigid_inverse

_LIDAR_CHANNEL = "LIDAR_TOP"


@dataclass(frozen=True)
class Shot:
    """What one sensor recorded, with where it was.

    Attributes:
        record: in ``sample_data.json``.
        calibration: in ``calibrated_sensor.json``.
        channel: name of the sensor, for example "CAM_FRONT".
        ego_from_sensor: where it is mounted on the car.
        global_from_ego: where the car was when it fired.
    """

    record: TableRecord
    calibration: TableRecord
    channel: str
    ego_from_sensor: Float64[np.ndarray, "4 4"]
    global_from_ego: Float64[np.ndarray, "4 4"]


def shots_of_keyframe(tables: Path, token: str) -> tuple[Shot, list[Shot]]:
    """What the LiDAR and what the cameras recorded of a sample.

    Raises:
        DataFormatError: no LiDAR, links that lead nowhere, damaged records.
    """
    records = [
        record
        for record in read_records(tables / "sample_data.json", ("sample_token", {token}))
        if record.mapping_value("is_key_frame") is True
    ]
    calibrations = records_by_token(
        tables / "calibrated_sensor.json", {record.text("calibrated_sensor_token") for record in records}
    )
    poses = records_by_token(tables / "ego_pose.json", {record.text("ego_pose_token") for record in records})
    sensors = records_by_token(tables / "sensor.json", {record.text("sensor_token") for record in calibrations.values()})
    lidar: Shot | None = None
    cameras: list[Shot] = []
    for record in records:
        calibration = linked_record(record, "calibrated_sensor_token", calibrations)
        sensor = linked_record(calibration, "sensor_token", sensors)
        shot = Shot(
            record,
            calibration,
            sensor.text("channel"),
            ego_from_sensor=target_from_source(calibration),
            global_from_ego=target_from_source(linked_record(record, "ego_pose_token", poses)),
        )
        if sensor.text("modality") == "camera":
            cameras.append(shot)
        elif shot.channel == _LIDAR_CHANNEL:
            lidar = shot
    if lidar is None:
        raise DataFormatError(
            tables / "sample_data.json", f"sample {token}", expected=f"a record of {_LIDAR_CHANNEL}", got="none"
        )
    return lidar, cameras


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
    return inverse_of(ego_from_camera) @ ego_from_ego


def inverse_of(transform: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The inverse of a rigid transform."""
    inverse: np.ndarray = rigid_inverse(torch.from_numpy(transform)[None])[0].numpy()
    return inverse


def listed_view(root: Path, shot: Shot) -> ListedView:
    """The image of a camera's shot with its lens.

    Raises:
        DataFormatError: no pinhole intrinsics, or no size.
    """
    name = file_name_of(shot.record)
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

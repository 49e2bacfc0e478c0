"""One camera as a file: where to look from, in the coordinates that a capture came in.

``camera_from_source`` 4×4 (rigid, OpenCV axes), ``K`` 3×3, ``width`` and ``height`` in pixels.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.io.placing import source_from_world
from scenewise.scenes.cameras import Cameras

_FORMAT, _VERSION = "scenewise-camera", 1
_MOST_PIXELS = 1 << 20  # of a side


def write_camera_file(path: str | Path, camera_in_source: Cameras) -> None:
    """Writes a camera whose world is the frame of the capture.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "camera_from_source": camera_in_source.camera_from_world.tolist(),
        "K": camera_in_source.K.tolist(),
        "width": camera_in_source.width,
        "height": camera_in_source.height,
    }
    atomic_write_json(Path(path), content)


def read_camera_file(path: str | Path, world_from_source: Float64[np.ndarray, "4 4"]) -> Cameras:
    """A camera in the world frame of a scene.

    Args:
        path: the file.
        world_from_source: of the scene.

    Raises:
        DataFormatError: no such file, another format, or no camera.
    """
    top = read_json_object(path)
    top.choice("format", (_FORMAT,))
    top.integer("version", minimum=_VERSION, maximum=_VERSION)
    pose, K = top.array("camera_from_source", (4, 4)), top.array("K", (3, 3))
    width, height = (top.integer(side, minimum=1, maximum=_MOST_PIXELS) for side in ("width", "height"))
    top.finish()
    try:
        moved = torch.from_numpy(pose @ source_from_world(world_from_source))
        return Cameras(moved, torch.from_numpy(K), width, height)
    except ScenewiseError as error:
        raise DataFormatError(path, expected="a camera", got=str(error)) from error

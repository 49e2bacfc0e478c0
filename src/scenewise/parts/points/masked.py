"""Points that masks leave out: those no photograph shows outside of what its mask hides."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.geometry.view_overlap import inside_image, project_points
from scenewise.scenes.frames import Frame


def shown_somewhere(
    points_in_world: Float64[np.ndarray, "n 3"], frames: tuple[Frame, ...], *, threads: int = 2
) -> Bool[np.ndarray, "n"]:
    """Whether a point may be used: some view has it in its picture and not under its mask, or none has it in its picture.

    What stands before a point is not asked: a person who was walked around hides what lies behind her in some views only.

    Args:
        points_in_world: finite positions.
        frames: views that decide.
        threads: workers that decode masks; the result does not depend on it.
    """
    if all(frame.load_mask is None for frame in frames):
        return np.ones(len(points_in_world), dtype=bool)

    def seen_and_shown(frame: Frame) -> tuple[Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        camera = frame.camera
        pixels, _ = project_points(camera.camera_from_world.numpy(), camera.K.numpy(), points_in_world)
        seen = inside_image(pixels, np.array([camera.width, camera.height]))
        shown = seen.copy()
        if frame.load_mask is not None:
            column, row = pixels[seen].astype(np.int64).T
            shown[seen] = frame.load_mask()[row, column]
        return seen, shown

    anywhere = np.zeros(len(points_in_world), dtype=bool)
    visible = np.zeros(len(points_in_world), dtype=bool)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for seen, shown in pool.map(seen_and_shown, frames):
            anywhere |= seen
            visible |= shown
    return visible | ~anywhere

"""From a scan of any source to points with posed pictures and what a frozen 2D model says of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float16, Float32

from scenewise.engine.data_hash import capture_hash, head_digest
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError
from scenewise.io.captures import usable_frames
from scenewise.io.json_values import fingerprint_of
from scenewise.io.resizing import resized
from scenewise.parts.lifting import stream_visible_pixels
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.scans.bare_scans import ScanAxes, scan_axes
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.captures import Capture
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import DepthMap, Frame, ImageU8
from scenewise.teachers.protocol import Teacher

PRIOR_CELL = 4
"""Pixels of a small picture per cell of the prior's grid, each way."""
_NARROWEST = 16
_VERSION = 2


@dataclass(frozen=True)
class PosingSettings:
    """How much is kept of a scan.

    Attributes:
        picture_width: pixels; heights in proportion of the first picture, so that all of a scan have one size.
        most_views: spread evenly over its frames.
    """

    picture_width: int = 320
    most_views: int = 40

    def __post_init__(self) -> None:
        for name, least in (("picture_width", _NARROWEST), ("most_views", 1)):
            if getattr(self, name) < least:
                raise ConventionError(name, expected=f"at least {least}", got=getattr(self, name))


def posed_scan_fingerprint(raw: RawScan, teacher: Teacher, settings: PosingSettings) -> str:
    """Changes with the points, cameras, pictures and files of depth, the teacher and the settings."""
    capture = _capture(raw)
    frames = _frames(capture, settings)
    used = replace(capture, frames=frames, points=raw.cloud, test_names=frozenset())
    depths = [None if frame.depth_path is None else head_digest(frame.depth_path) for frame in frames]
    about = {
        "version": _VERSION,
        "name": raw.name,
        "capture": capture_hash(used),
        "scale": capture.scale,
        "up": None if capture.up_in_world is None else hashlib.sha256(capture.up_in_world.tobytes()).hexdigest(),
        "teacher": teacher.fingerprint,
        "settings": asdict(settings),
        **({"depths": depths} if any(depths) else {}),  # scans without such files keep the name they are known by
    }
    return fingerprint_of(about)


def posed_scan(
    raw: RawScan, teacher: Teacher, settings: PosingSettings, progress: Progress | None = None, *, is_alone: bool = True
) -> PosedScan:
    """Points and pictures of a scan in its own axes.

    A pixel's depth is measured, or that of the nearest point it shows.

    Args:
        raw: the scan.
        teacher: whose dense features are the prior; sees the photographs in full, under the name ``scan/frame``.
        settings: how much is kept.
        progress: where to report.
        is_alone: whether frames may also be known to the teacher by their own names.

    Raises:
        ConventionError: no colours, no pictures, or a teacher that gives no features, or none for any picture.
    """
    capture = _capture(raw)
    colors = raw.cloud.colors_u8
    if colors is None:
        raise ConventionError(f"points of {raw.name}", expected="colours", got="none", fix="colour them from the pictures first")
    frames = _frames(capture, settings)
    axes = scan_axes(raw)
    small = _small(frames, settings.picture_width)
    pictures, depths, priors, kept = [], [], [], []
    shown = dict(zip(range(len(small)), small))
    nearest = _depths_of_points(raw, [frame for frame in small if frame.load_depth is None], capture)
    with (NullProgress() if progress is None else progress).stage(f"pictures of {raw.name}", len(frames)) as stage:
        for index, frame in enumerate(frames):
            assert frame.load_image is not None
            image = frame.load_image()
            names = (f"{raw.name}/{frame.name}", *((frame.name,) if is_alone else ()))
            field = next((said for name in names if (said := teacher.dense(image, name)) is not None), None)
            stage.advance()
            if field is None:
                continue
            little = shown[index]
            assert little.load_image is not None
            pictures.append(little.load_image())
            depths.append(_depth(little, nearest) / np.float32(axes.world_units_per_metre))
            priors.append(_prior(field, pictures[-1], teacher))
            kept.append(little)
    if not kept:
        raise ConventionError(f"features of {teacher.name} for {raw.name}", expected="some picture's", got="none")
    return PosedScan(
        name=raw.name,
        points_in_scan=axes(raw.cloud.points_in_world),
        colors_u8=np.array(colors),
        pictures_u8=np.stack(pictures),
        depths=np.stack(depths),
        K=np.stack([frame.camera.K.numpy() for frame in kept]),
        camera_from_scan=np.stack([_camera_from_scan(frame, axes) for frame in kept]),
        prior=np.stack(priors),
    )


def prior_on_grid(values: Float32[np.ndarray, "rows columns dim"], height: int, width: int) -> Float16[np.ndarray, "r c dim"]:
    """A teacher's dense features on a grid of :data:`PRIOR_CELL` pixels of a small picture of this size: means, or in between."""
    size = (max(1, round(height / PRIOR_CELL)), max(1, round(width / PRIOR_CELL)))
    maps = torch.from_numpy(np.array(values)).permute(2, 0, 1)[None]
    if values.shape[0] >= size[0] and values.shape[1] >= size[1]:
        taken = F.adaptive_avg_pool2d(maps, size)
    else:
        taken = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    return taken[0].permute(1, 2, 0).contiguous().numpy().astype(np.float16)


def _capture(raw: RawScan) -> Capture:
    if raw.capture is None:
        raise ConventionError(f"scan {raw.name}", expected="pictures with poses to learn from", got="points alone")
    return raw.capture


def _frames(capture: Capture, settings: PosingSettings) -> tuple[Frame, ...]:
    return spread_evenly(usable_frames(capture), settings.most_views)


def _small(frames: Sequence[Frame], width: int) -> list[Frame]:
    """All at the size of the first one at this width; a narrower one as wide as it is."""
    first = frames[0].camera
    width = min(width, first.width)
    height = max(PRIOR_CELL, round(first.height * width / first.width))
    return [resized(frame, width, height) for frame in frames]


def _depths_of_points(raw: RawScan, frames: Sequence[Frame], capture: Capture) -> dict[str, DepthMap]:
    """Depth of the nearest point that each pixel shows, of frames without measured depth; by name."""
    found: dict[str, DepthMap] = {}
    for seen in stream_visible_pixels(raw.cloud.points_in_world, frames, scale=capture.scale):
        camera = frames[seen.view].camera
        depth = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
        np.minimum.at(depth, (seen.row, seen.column), seen.depth.astype(np.float32))
        found[frames[seen.view].name] = np.where(np.isfinite(depth), depth, np.float32(0))
    return found


def _depth(frame: Frame, nearest: dict[str, DepthMap]) -> DepthMap:
    depth = nearest[frame.name] if frame.load_depth is None else frame.load_depth()
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
    return np.where(frame.load_mask(), depth, np.float32(0)) if frame.load_mask is not None else depth


def _prior(field: DenseField, picture: ImageU8, teacher: Teacher) -> Float16[np.ndarray, "r c dim"]:
    if field.kind != "features":
        raise ConventionError("teacher", expected="one that gives features", got=f"{teacher.name}: probabilities of classes")
    return prior_on_grid(field.values, picture.shape[0], picture.shape[1])


def _camera_from_scan(frame: Frame, axes: ScanAxes) -> np.ndarray:
    """camera_from_world after world_from_scan, in metres."""
    pose = frame.camera.camera_from_world.numpy()
    moved = np.eye(4)
    moved[:3, :3] = pose[:3, :3] @ axes.rotation.T
    moved[:3, 3] = (pose[:3, :3] @ axes.middle_in_world + pose[:3, 3]) / axes.world_units_per_metre
    return moved

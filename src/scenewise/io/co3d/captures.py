"""CO3D's sequences opened as captures."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from scenewise.errors import DataFormatError
from scenewise.io.co3d.annotations import FRAME_LIST, SequenceNotes, frames_of_sequence, sequence_notes
from scenewise.io.co3d.cameras import camera_from_world_of, lens_of_viewpoint
from scenewise.io.co3d.depth import HalfDepthLoader
from scenewise.io.frame_loaders import ImageLoader, MaskLoader
from scenewise.io.images import Background
from scenewise.io.json_fields import JsonFields
from scenewise.io.listed_files import visible
from scenewise.io.ply.points import read_points_ply
from scenewise.io.rgbd.listing import warn_without_pose
from scenewise.io.views import MAX_IMAGE_SIDE, ListedView, check_text, frames_of_views, is_file, safe_name
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

LICENCE = "CO3D terms of use (CC BY-NC 4.0, non-commercial)"
_HOLDOUT = 8
_HALF = 127  # of 255: what is larger is more likely of the object than not
_CLOUD = "pointcloud.ply"


@dataclass(frozen=True)
class SequencePlace:
    """Where a sequence is.

    Attributes:
        category: the folder with the lists.
        name: of the sequence and of its folder in there.
    """

    category: Path
    name: str

    @property
    def folder(self) -> Path:
        """Of the sequence."""
        return self.category / self.name

    def file(self, listed: str) -> Path:
        """A file of the sequence that is listed relative to the data root; nothing leads out of the sequence's folder."""
        parts = safe_name(listed).split("/")
        return self.folder.joinpath(*(parts[parts.index(self.name) + 1 :] if self.name in parts else parts))


def find_co3d_sequence(path: Path) -> SequencePlace | None:
    """The sequence that a folder holds, by the list beside it; None for any other folder."""
    if not (path / "images").is_dir():
        return None
    for folder in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100 - a linked sequence is looked for in both places
        if is_file(folder.parent / FRAME_LIST):
            return SequencePlace(folder.parent, folder.name)
    return None


def is_co3d_collection(path: Path) -> bool:
    """Whether a folder is a category of CO3D, or the root of several."""
    if is_file(path / FRAME_LIST):
        return True
    return path.is_dir() and any(is_file(folder / FRAME_LIST) for folder in path.iterdir())


def co3d_sequences(path: Path) -> tuple[Path, ...]:
    """The folders of sequences that are there, of a category or of all categories in a root; sorted.  No list is read."""
    categories = [path] if is_file(path / FRAME_LIST) else visible(path.iterdir())
    return tuple(
        sequence
        for category in categories
        if is_file(category / FRAME_LIST)
        for sequence in visible(category.iterdir())
        if (sequence / "images").is_dir()
    )


def read_co3d(path: Path, *, background: Background | None = None) -> Capture:
    """Reads one sequence.

    Masks say where the object is (more likely than not), so pixels beside it are left out; depth that the data set marks as
    unreliable counts as not measured.  Frames without a camera, as hidden test views have none, are left out and counted in a
    warning.  Where the folder of depth masks was not unpacked, depth is taken as it is.

    Args:
        path: ``root/category/sequence``; the lists are those of the category.
        background: colour behind transparent pixels.

    Returns:
        A capture of arbitrary scale in the data set's world frame, every 8th frame held out.  Its points are those of
        ``pointcloud.ply``, which show the object alone; None where there is no such file or the data set gives it no score.

    Raises:
        DataFormatError: no such layout, a damaged list, cameras that are none.
    """
    place = find_co3d_sequence(path)
    if place is None:
        raise DataFormatError(
            path,
            expected=f"a sequence of CO3D: images/ in it, and {FRAME_LIST} beside it",
            got=f"no {FRAME_LIST}" if (path / "images").is_dir() else "no images/",
            fix="unpack the category's lists beside its sequences",
        )
    views, poses, dropped = [], [], []
    records: dict[str, JsonFields] = {}
    for fields in frames_of_sequence(place.category, place.name):
        image = fields.object("image")
        image_path = _listed_file(place, image)
        name = image_path.relative_to(place.folder).as_posix()
        viewpoint, mask = fields.object("viewpoint", None), fields.object("mask", None)
        if viewpoint is None:
            dropped.append(name)
            continue
        mask_path = None if mask is None else _listed_file(place, mask)
        views.append(ListedView(name, image_path, lens_of_viewpoint(viewpoint, *_size(image)), fields.place, mask_path=mask_path))
        poses.append(camera_from_world_of(viewpoint))
        records[name] = fields
    listing = place.category / FRAME_LIST
    warn_without_pose(listing, dropped)
    camera_from_world = torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4))
    frames, in_effect = frames_of_views(listing, views, camera_from_world, background)
    frames = tuple(_with_maps(frame, records[frame.name], place) for frame in frames)
    return Capture(
        root=path,
        source_format="co3d",
        frames=frames,
        points=_points(place, sequence_notes(place.category).get(place.name)),
        test_names=every_nth_name(frames, _HOLDOUT),
        background=in_effect,
        licence=LICENCE,
    )


def _listed_file(place: SequencePlace, record: JsonFields, key: str = "path") -> Path:
    return place.file(check_text(record.path, f"{record.place}.{key}", record.text(key)))


def _size(image: JsonFields) -> tuple[int, int]:
    """Width and height; listed are height and width."""
    size = image.integers("size")
    if len(size) != 2 or not all(1 <= side <= MAX_IMAGE_SIDE for side in size):
        raise image.wrong("size", "height and width in pixels", str(size)[:60])
    return size[1], size[0]


def _with_maps(frame: Frame, record: JsonFields, place: SequencePlace) -> Frame:
    """The frame with its mask taken as probabilities, and with its depth where there is any."""
    mask = frame.load_mask
    if isinstance(mask, MaskLoader):
        frame = replace(frame, load_mask=replace(mask, above=_HALF))
    depth = record.object("depth", None)
    if depth is None or not isinstance(frame.load_image, ImageLoader):
        return frame
    path = _listed_file(place, depth)
    if not is_file(path):
        return replace(frame, missing_depth=path)
    units = depth.number("scale_adjustment")
    if units <= 0:
        raise depth.wrong("scale_adjustment", "a number above 0", units, "use the list as published")
    trusted = None if depth.text("mask_path", None) is None else _listed_file(place, depth, "mask_path")
    if trusted is not None and not is_file(trusted):
        trusted = None
    load_depth = HalfDepthLoader(path, frame.load_image.lens_camera, units, trusted)
    return replace(frame, load_depth=load_depth, depth_path=path)


def _points(place: SequencePlace, notes: SequenceNotes | None) -> PointCloud | None:
    if notes is not None and (notes.cloud_path is None or notes.cloud_quality is None):
        return None
    path = place.folder / _CLOUD if notes is None or notes.cloud_path is None else place.file(notes.cloud_path)
    return read_points_ply(path, non_finite="drop") if is_file(path) else None

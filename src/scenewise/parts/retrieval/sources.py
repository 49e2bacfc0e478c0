"""What may be entered into a library: anything that holds points with colours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.exif import read_photograph_header
from scenewise.io.named_points import read_named_points
from scenewise.io.scene_folder import POINTS_FILE, read_scene
from scenewise.io.scene_library.records import StoredScene
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.sources.capture_scans import CaptureScan
from scenewise.parts.sources.clouds import CloudScan
from scenewise.parts.sources.kinds import kind_of
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import RawScan, ScanSource
from scenewise.parts.sources.scannet_scans import ScannetScan
from scenewise.parts.sources.scene_photographs import recorded_place, reopen_photographs
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.scenes.captures import Capture
from scenewise.scenes.elements import Elements
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene

SCENE_KIND = "scene folder"
_KINDS = {CaptureScan: "capture", ScannetScan: "ScanNet scan", CloudScan: "point cloud"}
_PROBED = 12  # photographs whose dates are read


@dataclass(frozen=True)
class LibrarySource:
    """Something that may become a scene of a library.

    Attributes:
        name: of the scene, if nobody says otherwise.
        place: whole path that it is opened by.
        kind: of it, in words.
        open: reads it.
        scan: its name where the place holds several.
        capture: opens the pictures alone, where points would first have to be made; None: ``open`` is as quick.
    """

    name: str
    place: Path
    kind: str
    open: Callable[[], RawScan]
    scan: str | None = None
    capture: Callable[[], Capture | None] | None = None


def library_sources(path: str | Path) -> tuple[LibrarySource, ...]:
    """The scenes in a folder or file; none of them is read yet.

    Args:
        path: a capture of any kind, a scene folder, a cloud or mesh, a folder of captures (each is one scene, named by its path
            in there), a data set in ScanNet's layout, nuScenes (each keyframe is one).

    Raises:
        DataFormatError: nothing that can be read.
    """
    place = Path(path).expanduser().resolve()
    if place.exists() and kind_of((place,)) == "scene":
        return (LibrarySource(place.name, place, SCENE_KIND, partial(_open_scene, place)),)
    return tuple(_source(place, scan) for scan in open_scans(place))


def _source(place: Path, scan: ScanSource) -> LibrarySource:
    if isinstance(scan, CaptureScan):
        return LibrarySource(scan.name, scan.folder, _KINDS[CaptureScan], scan.open, capture=scan.capture)
    if isinstance(scan, ScannetScan):
        return LibrarySource(scan.name, scan.folder, _KINDS[ScannetScan], scan.open)
    if isinstance(scan, CloudScan):
        return LibrarySource(scan.name, scan.path, _KINDS[CloudScan], scan.open)
    return LibrarySource(scan.name, place, "nuScenes keyframe", scan.open, scan.name)


def source_again(scene: StoredScene) -> LibrarySource:
    """What a scene of a library was made from.

    Raises:
        DataFormatError: it is gone, or holds something else now.
    """
    place = Path(scene.facts.source)
    if not place.exists():
        fix = "put it back, or remove the scene and add it from where it is now"
        raise DataFormatError(place, expected=f"what the scene {scene.name!r} was made from", got="nothing", fix=fix)
    found = library_sources(place)
    scan = scene.facts.provenance.get("scan")
    chosen = [source for source in found if scan is None or source.scan == scan]
    if len(chosen) != 1:
        raise DataFormatError(place, expected=f"one scan {scan or ''}".rstrip(), got=f"{len(chosen)} of them")
    return chosen[0]


def date_of_photographs(capture: Capture | None) -> str | None:
    """The day on which the first of some photographs was taken, as their cameras noted it; None where they did not."""
    if capture is None:
        return None
    dates = [_date(frame) for frame in spread_evenly(capture.frames_with_image, _PROBED)]
    return min((date for date in dates if date is not None), default=None)


def _date(frame: Frame) -> str | None:
    if frame.image_path is None or not frame.image_path.is_file():
        return None
    try:
        return read_photograph_header(frame.image_path).date
    except DataFormatError:  # whoever needs its pixels will say so
        return None


# ------------------------------------------------------------------------------------------------------------- scene folders


def _open_scene(folder: Path) -> RawScan:
    """A scene's points, or its splats' centres where it has none; its photographs where they are still there."""
    scene = read_scene(folder)
    cloud, said = _points(folder, scene)
    return RawScan(folder.name, cloud, said, capture=_photographs(folder, scene))


def _points(folder: Path, scene: Scene) -> tuple[PointCloud, str]:
    if (folder / POINTS_FILE).is_file():
        cloud = read_named_points(folder / POINTS_FILE)
        if len(cloud):
            return cloud, f"points of {POINTS_FILE}"
    if not scene.num_gaussians:
        raise DataFormatError(folder, expected="points or splats", got="neither")
    gaussians = scene.load_gaussians()
    splats = Elements.of_gaussians(gaussians)
    assert splats.colors is not None
    solid = (gaussians.opacities >= LEAST_OPACITY).numpy()
    colors_u8 = np.round(255.0 * splats.colors[solid]).astype(np.uint8)
    return PointCloud(splats.positions_in_world[solid], colors_u8), "centres of splats"


def _photographs(folder: Path, scene: Scene) -> Capture:
    """The capture a scene was made from; its cameras without pictures where those are gone."""
    place = recorded_place(scene)
    if place is not None and place.exists():
        try:
            capture = reopen_photographs(scene, place).capture
        except DataFormatError:  # something else is there now
            capture = None
        if capture is not None and capture.frames_with_image:
            return capture
    return Capture(
        root=folder,
        source_format="world",
        frames=_frames_without_pictures(scene),
        scale=scene.scale,
        up_in_world=scene.up_in_world,
        world_from_source=scene.world_from_source,
        licence=scene.licences.get(scene.provenance.preset or "capture"),
    )


def _frames_without_pictures(scene: Scene) -> tuple[Frame, ...]:
    return tuple(Frame(entry.name, entry.camera, load_image=None) for entry in scene.cameras)


def named_anew(sources: Sequence[LibrarySource], name: str | None) -> tuple[LibrarySource, ...]:
    """The same under another name; of several, put before theirs: "name/theirs"."""
    if name is None:
        return tuple(sources)
    if len(sources) == 1:
        return (replace(sources[0], name=name),)
    return tuple(replace(source, name=f"{name}/{source.name}") for source in sources)

"""Graphs of a real kitchen, to be looked at: nobody labelled it, so there are pictures and no figures.

The RGB-D capture is named without a reconstruction, its points come from depth: once by the embedded model, which has only seen
procedural rooms, and once by surfaces told from the depth alone (floor, table top, upright surface …).
"""

import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scenewise.commands.graph.options import GraphOptions
from scenewise.commands.graph.run import graph_scene
from scenewise.commands.graph.summary import GraphSummary
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.scene_folder import GRAPH_FILE
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.points.settings import spread_evenly
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.show.graphs.from_above import graph_from_above
from scenewise.show.graphs.over_view import graph_over_view
from scenewise.studies.real.teachers import write_surface_teacher

MOST_BYTES = 200_000
"""Of a picture."""
_WIDTHS = (900, 720, 600, 480)  # of pictures, until one is small enough
_COLORS = 128
_PLACES = (0.2, 0.6)  # of the photographs that are drawn on, in the order of the capture


@dataclass(frozen=True)
class KitchenGraph:
    """What came of the kitchen under one teacher.

    Attributes:
        scene: folder.
        summary: of the graph.
        pictures: that were drawn.
    """

    scene: Path
    summary: GraphSummary
    pictures: tuple[Path, ...]


def kitchen_graphs(capture: Path, out: Path, frames: int = 60, max_points: int = 100_000) -> dict[str, KitchenGraph]:
    """Scenes, graphs and pictures of a capture with depth, by the name of the teacher.

    Args:
        capture: RGB-D folder.
        out: folder to write.
        frames: photographs that are named.
        max_points: of the cloud.
    """
    used = spread_evenly(usable_frames(open_capture(capture)), frames)
    surfaces = out / "surface_teacher"
    shutil.rmtree(surfaces, ignore_errors=True)
    write_surface_teacher(surfaces, used)
    found = {}
    for name, teacher in (("small_clip", "small-clip"), ("surfaces", f"files:{surfaces}")):
        scene = out / name
        shutil.rmtree(scene, ignore_errors=True)
        segment(
            SegmentOptions(
                target=(capture,), out=scene, teacher=teacher, frames=frames, max_points=max_points, no_cache=True, threads=1
            )
        )
        summary = graph_scene(GraphOptions(scene, threads=1))
        shown = [used[int(place * len(used))] for place in _PLACES]
        found[name] = KitchenGraph(scene, summary, graph_pictures(scene, shown, out / f"graph_{name}"))
    return found


def graph_pictures(scene: Path, frames: Sequence[Frame], stem: Path) -> tuple[Path, ...]:
    """A graph over photographs and from above, as PNG files of at most 200 kB.

    Args:
        scene: folder of the graph.
        frames: photographs with depth, in the world of the scene.
        stem: of the files, which end in a number or in "above".
    """
    graph = read_scene_graph(scene / GRAPH_FILE)
    colors = read_vocabulary(scene / VOCABULARY_FILE)[0].colors_u8
    written = []
    for number, frame in enumerate(frames):
        assert frame.load_image is not None and frame.load_depth is not None, "the kitchen's photographs have depth"
        picture, depth = frame.load_image(), frame.load_depth().astype(np.float64)
        drawn = (graph_over_view(graph, frame.camera, picture, depth=depth, colors_u8=colors, width=width) for width in _WIDTHS)
        written.append(_written(stem.with_name(f"{stem.name}_{number}.png"), drawn))
    above = (graph_from_above(graph, colors_u8=colors, width=width) for width in _WIDTHS)
    written.append(_written(stem.with_name(f"{stem.name}_above.png"), above))
    return tuple(written)


def _written(path: Path, pictures: Iterable[ImageU8]) -> Path:
    """The first picture that is small enough in few colours, else the last."""
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).quantize(_COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    atomic_write_bytes(path, buffer.getvalue())
    return path

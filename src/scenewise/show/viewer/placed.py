"""The scene as browsers have it: splats, points, cameras and boxes, as viser's nodes."""

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from scenewise.geometry.rotations import quat_from_rotation
from scenewise.parts.words.answers import AnswerSegment
from scenewise.show.viewer.contents import Contents
from scenewise.show.viewer.viewpoints import Viewpoint, scene_radius, vertical_fov, view_of

_MAX_FRUSTUMS = 200
_LARGEST_VARIANCE = 4096.0  # of what is sent as float16: 8,000 : 1 between the largest and the smallest exact deviation
_BOX_COLORS = ((255, 255, 255), (255, 214, 102), (160, 220, 255))
_TRAIN_COLOR, _TEST_COLOR = (120, 170, 255), (255, 170, 80)


@final
class PlacedScene:
    """What has been sent to the browsers of a server.

    Args:
        server: of viser.
        contents: what to send.
        view: where browsers look from at first.

    Attributes:
        nodes: of viser, by what they show: "splats", "points", "cameras", "boxes"; what the scene has not is missing.
    """

    def __init__(self, server: Any, contents: Contents, view: Viewpoint) -> None:
        self._server, self._contents = server, contents
        self._up = contents.up.astype(np.float64)
        self._radius = scene_radius(contents)
        self.nodes: dict[str, Any] = {}
        server.scene.set_up_direction(self._up)
        camera = server.initial_camera
        camera.up, camera.position, camera.look_at, camera.fov = self._up, view.position, view.target, view.fov
        camera.near, camera.far = 1e-3 * self._radius, 100.0 * self._radius
        if len(contents.splats):
            self._place_splats()
        if len(contents.points):
            self.nodes["points"] = server.scene.add_point_cloud(
                "/points",
                points=contents.points.positions,
                colors=contents.points.colors,
                point_size=_point_size(contents.points.positions, self._radius),
                point_shape="circle",
                precision="float32",
                visible=not len(contents.splats),
            )
        if contents.cameras:
            self._place_cameras()
        self.nodes["boxes"] = server.scene.add_frame("/answer", show_axes=False)

    def paint(self, what: str, colors: UInt8[np.ndarray, "n 3"], shown: Bool[np.ndarray, "n"]) -> None:
        """Gives all "splats" or "points" these colours and hides those that are not ``shown``."""
        node = self.nodes[what]
        if what == "splats":
            buffer = self._splat_buffer.copy()
            rgba = buffer[:, 7:8].view(np.uint8).reshape(-1, 4)
            rgba[:, :3] = colors
            rgba[~shown, 3] = 0
            node.buffer = buffer
        elif shown.all():
            node.points, node.colors = self._contents.points.positions, colors
        else:
            node.points, node.colors = self._contents.points.positions[shown], colors[shown]

    def colors(self, what: str) -> UInt8[np.ndarray, "n 3"]:
        """What "splats" or "points" were last painted with."""
        node = self.nodes[what]
        return np.array(node.rgbs if what == "splats" else node.colors)

    def draw_boxes(self, segments: Sequence[AnswerSegment], is_shown: bool) -> None:
        """Boxes around the places of an answer, in place of those before."""
        scene, origin = self._server.scene, self._contents.origin
        self.nodes["boxes"].remove()
        self.nodes["boxes"] = scene.add_frame("/answer", show_axes=False, visible=is_shown)
        for number, segment in enumerate(segments, start=1):
            color = _BOX_COLORS[(number - 1) % len(_BOX_COLORS)]
            scene.add_line_segments(
                f"/answer/{number}/box",
                points=(segment.box.edges_in_world - origin).astype(np.float32),
                colors=color,
                thickness=2.0,
                thickness_units="screen",
            )
            top = segment.box.center_in_world - origin + 0.5 * segment.box.size[2] * self._up
            text = f"{number} · {100.0 * segment.score:.0f} %"
            scene.add_label(f"/answer/{number}/label", text, position=top, anchor="bottom-center")

    def _place_splats(self) -> None:
        # Variances travel as float16, whose range ends at 6e-5 … 65,504: the splats are sent larger and shown smaller.
        splats, shapes = self._contents.splats, self._contents.shapes
        largest = float(np.diagonal(shapes.covariances, axis1=1, axis2=2).max())
        enlarged = math.sqrt(_LARGEST_VARIANCE / max(largest, 1e-30))
        self.nodes["splats"] = self._server.scene.add_gaussian_splats(
            "/splats",
            centers=splats.positions * np.float32(enlarged),
            covariances=shapes.covariances.astype(np.float64) * enlarged**2,
            rgbs=splats.colors,
            opacities=shapes.opacities[:, None],
            scale=1.0 / enlarged,
        )
        self._splat_buffer: np.ndarray = self.nodes["splats"].buffer.copy()

    def _place_cameras(self) -> None:
        scene, contents = self._server.scene, self._contents
        cameras = contents.cameras
        self.nodes["cameras"] = scene.add_frame("/cameras", show_axes=False, visible=False)
        for number in range(0, len(cameras), math.ceil(len(cameras) / _MAX_FRUSTUMS)):
            entry = cameras[number]
            pose = entry.camera.world_from_camera
            frustum = scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=vertical_fov(entry.camera),
                aspect=entry.camera.width / entry.camera.height,
                scale=0.025 * self._radius,
                thickness=1.5,
                thickness_units="screen",
                color=_TEST_COLOR if entry.split == "test" else _TRAIN_COLOR,
                wxyz=quat_from_rotation(pose[:3, :3]).numpy(),
                position=pose[:3, 3].numpy() - contents.origin,
                cast_shadow=False,
                receive_shadow=False,
            )
            view = view_of(contents, entry.camera)

            def go(event: Any, view: Viewpoint = view) -> None:
                move(event.client, view, self._up)

            frustum.on_click(go)


def move(client: Any, view: Viewpoint, up: Float64[np.ndarray, "3"]) -> None:
    """Moves one browser."""
    with client.atomic():
        client.camera.up_direction = up
        client.camera.position = view.position
        client.camera.look_at = view.target
        client.camera.fov = view.fov


def _point_size(positions: Float32[np.ndarray, "n 3"], radius: float) -> float:
    """About half the distance between neighbours, if the points lie on surfaces of the scene's size."""
    return float(np.clip(1.2 * radius / math.sqrt(max(1, len(positions))), 5e-4 * radius, 2e-2 * radius))

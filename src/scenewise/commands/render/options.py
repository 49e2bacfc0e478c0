"""Options of ``scenewise render``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.commands.shared import Device, OptionalColor, require_color
from scenewise.engine.option_values import Count, Number, OptionalPath, require, require_at_least


@dataclass(frozen=True)
class RenderOptions:
    """Render a scene: the capture's own views, or an orbit around what the cameras look at.

    Attributes:
        scene: scene folder.
        path: which cameras: the capture's views or an orbit.
        split: which of the capture's views.
        frames: number of pictures in the orbit.
        radius: distance of the orbit from its centre as a multiple of the median camera distance.
        elevation_deg: height of the orbit above the horizontal plane; default the median elevation of the cameras.
        width: picture width in pixels; default the capture's.
        height: picture height in pixels; default from the width and the capture's aspect ratio.
        channel: what the pictures show.
        format: numbered PNG files or one MP4 film.
        fps: pictures per second of the film.
        background: colour behind everything; default the scene's own.
        out: folder (PNG) or file (MP4); default SCENE/renders.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        overwrite: replace pictures that exist.
    """

    scene: Positional[Path]
    path: Literal["views", "orbit"] = "views"
    split: Literal["test", "train", "all"] = "test"
    frames: int = 120
    radius: float = 1.0
    elevation_deg: Number = None
    width: Count = None
    height: Count = None
    channel: Literal["color", "depth", "alpha"] = "color"
    format: Literal["png", "mp4"] = "png"
    fps: int = 30
    background: OptionalColor = None
    out: OptionalPath = None
    threads: Count = None
    device: Device = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for option, value in (("--frames", self.frames), ("--width", self.width), ("--height", self.height), ("--fps", self.fps)):
            require_at_least(option, value, 1)
        require_at_least("--threads", self.threads, 1)
        require(0.0 < self.radius < float("inf"), "--radius", "a factor above 0", self.radius)
        elevation_deg = self.elevation_deg
        require(elevation_deg is None or -85.0 <= elevation_deg <= 85.0, "--elevation-deg", "−85 to 85", elevation_deg)
        require_color("--background", self.background)

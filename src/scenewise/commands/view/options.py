"""Options of ``scenewise view``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.engine.option_values import Count, OptionalPath, Text, require, require_at_least


@dataclass(frozen=True)
class ViewOptions:
    """Look at a scene in the browser: splats and points, classes, confidence, and what answers a question.

    Attributes:
        scene: scene folder.
        ask: a question to begin with, such as "something to sit on".
        picture: image file to begin with: what it shows is looked for, beside what --ask says.
        object: number of an object in graph.json to begin with: it is marked, looked at and told about.
        camera: file of a camera to begin with, such as the camera.json of scenewise search.
        mode: what the colours show at first.
        port: where to listen; default 8080, or a free one where that is taken; 0 takes a free one.
        host: address to listen on; anything but this machine's own lets others see the scene.
        no_open: do not open a browser window.
        max_splats: show at most so many splats, the most opaque and largest.
        screenshot: write a picture of the page (PNG) through a browser without a window, and end.
        width: of that picture in pixels.
        height: of that picture in pixels.
    """

    scene: Positional[Path]
    ask: Text = None
    picture: OptionalPath = None
    object: Count = None
    camera: OptionalPath = None
    mode: Literal["color", "classes", "confidence", "heat"] | None = None
    port: Count = None
    host: str = "127.0.0.1"
    no_open: bool = False
    max_splats: int = 1_000_000
    screenshot: OptionalPath = None
    width: int = 1280
    height: int = 800

    def __post_init__(self) -> None:
        require_at_least("--object", self.object, 0)
        require_at_least("--max-splats", self.max_splats, 1)
        require(self.port is None or 0 <= self.port <= 65535, "--port", "a number from 0 to 65535", self.port)
        for option, value in (("--width", self.width), ("--height", self.height)):
            require(64 <= value <= 8192, option, "64 to 8192", value)

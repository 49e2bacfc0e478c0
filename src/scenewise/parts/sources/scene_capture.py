"""Reopening the photographs of a scene."""

from pathlib import Path

from scenewise.io.captures import open_capture
from scenewise.scenes.captures import Capture
from scenewise.scenes.scenes import Scene


def capture_of_scene(scene: Scene, path: Path) -> Capture:
    """The photographs in ``path`` at the size and with the background that the scene was made from."""
    factor = scene.provenance.config.get("downscale")
    return open_capture(
        path,
        preset=scene.provenance.preset,
        factor=factor if isinstance(factor, int) else None,
        background=scene.background,
    )

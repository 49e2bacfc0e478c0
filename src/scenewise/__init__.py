"""Scenewise learns 3D scenes from images without labels.

Importing this package is cheap: nothing here imports torch.  The public names below are loaded on first use.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "open_capture": "scenewise.io.captures",
    "Cameras": "scenewise.scenes.cameras",
    "Capture": "scenewise.scenes.captures",
    "Frame": "scenewise.scenes.frames",
    "Gaussians": "scenewise.scenes.gaussians",
    "PointCloud": "scenewise.scenes.point_clouds",
    "render": "scenewise.rendering",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'scenewise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Depth of a splat scene where nothing measured it."""

from dataclasses import dataclass

import numpy as np
import torch

from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap
from scenewise.scenes.gaussians import Gaussians

_SOLID = 0.5  # a pixel at least this opaque has a depth worth comparing with


@dataclass(frozen=True)
class RenderedDepth:
    """What a depth camera would measure in a splat scene; 0 where it is not solid.

    Attributes:
        gaussians: the scene.
        camera: where from.
    """

    gaussians: Gaussians
    camera: Cameras

    def __call__(self) -> DepthMap:
        with torch.no_grad():
            seen = render(self.gaussians, self.camera, sh_degree=0)
        alpha = seen.alpha.cpu().numpy()
        depth = seen.depth.cpu().numpy() / np.maximum(alpha, _SOLID)
        return np.where(alpha >= _SOLID, depth, 0.0).astype(np.float32)

"""CO3D's depth maps: the 16 bits of a pixel are those of a float16."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.images import read_codes_u16, with_image
from scenewise.io.undistorted_pixels import sample_nearest
from scenewise.scenes.frames import DepthMap


@dataclass(frozen=True)
class HalfDepthLoader:
    """Decodes a depth map onto the pixel grid of the photograph; it may have another resolution.

    Attributes:
        path: 16-bit PNG of float16 bit patterns.
        lens_camera: at the photograph's resolution.
        units_per_value: world units per stored unit (``scale_adjustment``).
        mask_path: picture of the map's size that is 0 where the depth cannot be trusted; None trusts all of it.
    """

    path: Path
    lens_camera: LensCamera
    units_per_value: float
    mask_path: Path | None = None

    def __call__(self) -> DepthMap:
        """Depth along +Z in world units, 0 = no measurement.

        Raises:
            DataFormatError: missing, truncated, not 16-bit, or a mask of another size.
        """
        stored = np.ascontiguousarray(read_codes_u16(self.path)).view(np.float16).astype(np.float32)
        depth = np.where(np.isfinite(stored) & (stored > 0), stored, np.float32(0)) * np.float32(self.units_per_value)
        if self.mask_path is not None:
            trusted = with_image(self.mask_path, lambda image: np.asarray(image.convert("L"))) > 0
            if trusted.shape != depth.shape:
                raise DataFormatError(
                    self.mask_path,
                    "mask size",
                    expected=f"{depth.shape[1]}×{depth.shape[0]} like {self.path.name}",
                    got=f"{trusted.shape[1]}×{trusted.shape[0]}",
                    fix="unpack both from the same release",
                )
            depth = np.where(trusted, depth, np.float32(0))
        return sample_nearest(depth, self.lens_camera)

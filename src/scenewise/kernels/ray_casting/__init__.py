"""Ray casting of boxes, frustums and ellipsoids: what procedural worlds are photographed with.

``cast_rays`` answers where rays hit; ``surface_maps`` gives exact depth and primitive ids per pixel; ``photograph`` gives an
antialiased, lit and textured picture.  All are deterministic and do not depend on the number of threads.
"""

from typing import Literal

from jaxtyping import Float32
from torch import Tensor

from scenewise.errors import MissingDependencyError, ShapeError
from scenewise.kernels.ray_casting import native, reference
from scenewise.kernels.ray_casting.tables import (
    FACE_ROUND,
    ImageTensorU8,
    Lighting,
    MaterialTable,
    PrimitiveScene,
    PrimitiveTable,
    RayHits,
    Shape,
    SurfaceMaps,
    Texture,
)
from scenewise.scenes.cameras import Cameras

Backend = Literal["auto", "reference", "native"]

__all__ = [
    "FACE_ROUND",
    "Backend",
    "Lighting",
    "MaterialTable",
    "PrimitiveScene",
    "PrimitiveTable",
    "RayHits",
    "Shape",
    "SurfaceMaps",
    "Texture",
    "cast_rays",
    "photograph",
    "surface_maps",
]


def _uses_native(backend: Backend) -> bool:
    if backend == "native" and not native.is_available():
        raise MissingDependencyError("a C++ compiler at installation", needed_for='backend="native"')
    return backend != "reference" and native.is_available()


def _require_one_camera(camera: Cameras) -> None:
    if camera.K.ndim != 2:
        raise ShapeError("camera", expected="one camera without batch axes", got=f"batch {tuple(camera.K.shape[:-2])}")


def cast_rays(
    primitives: PrimitiveTable,
    origins: Float32[Tensor, "r 3"],
    directions: Float32[Tensor, "r 3"],
    *,
    backend: Backend = "auto",
) -> RayHits:
    """Nearest surface along each ray.

    Args:
        primitives: solids, seen from outside.
        origins: ray starts in the world frame, metres.
        directions: any length but zero; hit distances are in multiples of it.
        backend: "auto" takes the compiled library where it was built.

    Raises:
        ShapeError: as many origins as directions are needed.
    """
    if origins.shape != directions.shape:
        raise ShapeError("directions", expected=f"{tuple(origins.shape)} as origins", got=f"{tuple(directions.shape)}")
    return (native if _uses_native(backend) else reference).cast_rays(primitives, origins, directions)


def surface_maps(primitives: PrimitiveTable, camera: Cameras, *, backend: Backend = "auto") -> SurfaceMaps:
    """Depth along +Z and primitive ids at pixel centres, exact and without antialiasing."""
    _require_one_camera(camera)
    return (native if _uses_native(backend) else reference).surface_maps(primitives, camera)


def photograph(scene: PrimitiveScene, camera: Cameras, *, samples_per_axis: int = 2, backend: Backend = "auto") -> ImageTensorU8:
    """A picture of the scene: the mean linear colour of a regular grid of rays per pixel, encoded as √colour (gamma 2).

    Args:
        scene: primitives, materials and lights.
        camera: one pinhole camera.
        samples_per_axis: rays per pixel and axis, at least 1.
        backend: "auto" takes the compiled library where it was built.
    """
    _require_one_camera(camera)
    if samples_per_axis < 1:
        raise ShapeError("samples_per_axis", expected="at least 1", got=samples_per_axis)
    return (native if _uses_native(backend) else reference).photograph(scene, camera, samples_per_axis)

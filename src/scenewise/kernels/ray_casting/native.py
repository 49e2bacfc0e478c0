"""Ray casting by the compiled library: the same functions as ``reference``, 16 rays at a time."""

import ctypes

import torch
from jaxtyping import Float32
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.native import library
from scenewise.kernels.ray_casting.tables import (
    ImageTensorU8,
    Lighting,
    MaterialTable,
    PrimitiveScene,
    PrimitiveTable,
    RayHits,
    SurfaceMaps,
)
from scenewise.scenes.cameras import Cameras

_Argument = ctypes.c_void_p | ctypes.c_int64 | ctypes.c_int


def is_available() -> bool:
    """Whether the compiled library was loaded."""
    return library.load() is not None


def _call(name: str, *arguments: _Argument) -> None:
    loaded = library.load()
    assert loaded is not None
    function = getattr(loaded, name)
    function.restype = None
    function(*arguments)


def _pointer(values: Tensor, dtype: torch.dtype) -> ctypes.c_void_p:
    if values.dtype != dtype or not values.is_contiguous() or values.device.type != "cpu":
        layout = "" if values.is_contiguous() else "non-contiguous "
        raise ShapeError(
            "ray casting table", expected=f"contiguous {dtype} on the CPU", got=f"{layout}{values.dtype} on {values.device}"
        )
    return ctypes.c_void_p(values.data_ptr())


def _primitive_arguments(primitives: PrimitiveTable) -> list[_Argument]:
    return [
        ctypes.c_int64(len(primitives)),
        _pointer(primitives.shapes, torch.int32),
        _pointer(primitives.centers_in_world, torch.float32),
        _pointer(primitives.half_sizes, torch.float32),
        _pointer(primitives.yaw_cos_sin, torch.float32),
        _pointer(primitives.end_scales, torch.float32),
        _pointer(primitives.material_ids, torch.int32),
    ]


def _material_arguments(materials: MaterialTable) -> list[_Argument]:
    floats = (materials.colors, materials.feature_sizes, materials.contrasts, materials.grains, materials.emissions)
    return [
        _pointer(materials.textures, torch.int32),
        _pointer(materials.seeds, torch.int32),
        *(_pointer(values, torch.float32) for values in floats),
    ]


def _packed_lights(lighting: Lighting) -> Float32[Tensor, "13"]:
    numbers = [lighting.ambient, *lighting.lamp_in_world, lighting.lamp_radius, lighting.lamp_strength]
    numbers += [*lighting.sun_direction, lighting.sun_strength, *lighting.tint]
    return torch.tensor(numbers, dtype=torch.float32)


class _View:
    """A camera as the library takes it; keeps the arrays alive during the call."""

    def __init__(self, camera: Cameras) -> None:
        world_from_camera = camera.world_from_camera
        self._origin = world_from_camera[:3, 3].float().contiguous()
        self._world_from_pixel = (world_from_camera[:3, :3] @ torch.linalg.inv(camera.K)).contiguous()
        self._size = (camera.width, camera.height)

    def arguments(self) -> list[_Argument]:
        return [
            _pointer(self._origin, torch.float32),
            _pointer(self._world_from_pixel, torch.float64),
            *(ctypes.c_int64(size) for size in self._size),
        ]


def cast_rays(primitives: PrimitiveTable, origins: Float32[Tensor, "r 3"], directions: Float32[Tensor, "r 3"]) -> RayHits:
    """Nearest hit of each ray; see :func:`scenewise.kernels.ray_casting.reference.cast_rays`."""
    origins, directions = origins.contiguous(), directions.contiguous()
    rays = len(origins)
    distances, normals, locals_ = torch.empty(rays), torch.empty(rays, 3), torch.empty(rays, 3)
    ids, faces = torch.empty(rays, dtype=torch.int32), torch.empty(rays, dtype=torch.int32)
    _call(
        "sw_cast_rays",
        *_primitive_arguments(primitives),
        ctypes.c_int64(rays),
        _pointer(origins, torch.float32),
        _pointer(directions, torch.float32),
        _pointer(distances, torch.float32),
        _pointer(ids, torch.int32),
        _pointer(normals, torch.float32),
        _pointer(locals_, torch.float32),
        _pointer(faces, torch.int32),
    )
    return RayHits(distances, ids, normals, locals_, faces)


def surface_maps(primitives: PrimitiveTable, camera: Cameras) -> SurfaceMaps:
    """Depth and primitive at every pixel centre."""
    depth = torch.empty(camera.height, camera.width)
    ids = torch.empty(camera.height, camera.width, dtype=torch.int32)
    view = _View(camera)
    outputs = (_pointer(depth, torch.float32), _pointer(ids, torch.int32))
    _call("sw_surface_maps", *_primitive_arguments(primitives), *view.arguments(), *outputs)
    return SurfaceMaps(depth=depth, primitive_ids=ids)


def photograph(scene: PrimitiveScene, camera: Cameras, samples_per_axis: int) -> ImageTensorU8:
    """Lit, textured picture; see :func:`scenewise.kernels.ray_casting.reference.photograph`."""
    image = torch.empty(camera.height, camera.width, 3, dtype=torch.uint8)
    lights, view = _packed_lights(scene.lighting), _View(camera)
    _call(
        "sw_photograph",
        *_primitive_arguments(scene.primitives),
        *_material_arguments(scene.materials),
        _pointer(lights, torch.float32),
        *view.arguments(),
        ctypes.c_int(samples_per_axis),
        _pointer(image, torch.uint8),
    )
    return image

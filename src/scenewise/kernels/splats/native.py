"""The splat kernel in the compiled library (native/splats.cpp)."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from scenewise.kernels.native import library
from scenewise.kernels.splats.interface import Contribution, SplatInput, SplatOutput

_MAX_EXTRA = 16  # channels of one pass; more are blended in several passes over the same geometry
_POINTER = ctypes.c_void_p


class _Scene(ctypes.Structure):
    _fields_ = (
        ("n", ctypes.c_int64),
        *((name, _POINTER) for name in ("means", "quats", "scales", "opacities", "sh0", "shN", "extra")),
        *((name, ctypes.c_int32) for name in ("sh_rest", "sh_degree", "channels", "stored")),
        ("rotation", ctypes.c_float * 9),
        ("translation", ctypes.c_float * 3),
        *((name, ctypes.c_float) for name in ("fx", "fy", "cx", "cy", "near")),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("background", ctypes.c_float * 3),
    )


class _Picture(ctypes.Structure):
    _fields_ = tuple(
        (name, _POINTER) for name in ("color", "depth", "alpha", "extra", "radii", "weight_sum", "pixel_count", "argmax_count")
    )


class _Gradients(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("color", "depth", "alpha", "extra")),
        *((name, _POINTER) for name in ("means", "quats", "scales", "opacities", "sh0", "shN", "extra_in", "screen")),
        ("screen_columns", ctypes.c_int32),
        ("pose", _POINTER),
    )


@cache
def _library() -> Any:
    lib = library.load()
    if lib is None:
        return None
    lib.sw_splats_constant.argtypes = [ctypes.c_char_p]
    lib.sw_splats_constant.restype = ctypes.c_float
    lib.sw_splats_new.restype = _POINTER
    lib.sw_splats_delete.argtypes = [_POINTER]
    lib.sw_splats_forward.argtypes = [_POINTER] * 4
    lib.sw_splats_backward.argtypes = [_POINTER] * 5
    lib.sw_splats_counts.argtypes = [_POINTER] * 2
    lib.sw_splats_gather.argtypes = [_POINTER] * 3 + [ctypes.c_int32] + [_POINTER] * 3
    for name in ("sw_splats_delete", "sw_splats_forward", "sw_splats_backward", "sw_splats_counts", "sw_splats_gather"):
        getattr(lib, name).restype = None
    return lib


def constant(name: str) -> float:
    """A constant of :mod:`scenewise.kernels.splats.constants` as it was compiled, or ``LOG2_ALPHA_MIN``; NaN for other names."""
    return float(_library().sw_splats_constant(name.encode()))


def can_run(splats: SplatInput) -> bool:
    """Float32 on the CPU, and the library is there."""
    return splats.means.dtype == torch.float32 and splats.means.device.type == "cpu" and _library() is not None


@dataclass
class StageTimes:
    """Seconds spent in each stage of the last forward and backward, for the benchmark."""

    projection: float = 0.0
    binning: float = 0.0
    rasterization: float = 0.0
    rasterization_backward: float = 0.0
    projection_backward: float = 0.0


class _Workspace:
    """Buffers that live from a forward to its backward; reused, because allocating them costs more than filling them."""

    _free: "list[_Workspace]" = []  # noqa: RUF012

    def __init__(self) -> None:
        self.handle = _library().sw_splats_new()

    @classmethod
    def take(cls) -> "_Workspace":
        try:
            return cls._free.pop()
        except IndexError:
            return cls()

    def give_back(self) -> None:
        if len(self._free) < 4:
            self._free.append(self)

    def __del__(self) -> None:
        lib = _library()
        if lib is not None:
            lib.sw_splats_delete(self.handle)


class _Lease:
    """Returns its workspace when the graph that needs it is gone, whether or not backward ran."""

    def __init__(self, workspace: _Workspace) -> None:
        self.workspace = workspace

    def __del__(self) -> None:
        self.workspace.give_back()


def last_counts() -> tuple[int, int, int]:
    """Visible Gaussians, (tile, Gaussian) pairs and evaluated lanes of the last render without gradients."""
    counts = (ctypes.c_int64 * 3)()
    workspace = _Workspace.take()
    _library().sw_splats_counts(workspace.handle, counts)
    workspace.give_back()
    return int(counts[0]), int(counts[1]), int(counts[2])


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _scene(splats: SplatInput, arrays: tuple[Tensor, ...], extra: Tensor | None, pose: Tensor) -> _Scene:
    means, quats, scales, opacities, sh0, shN = arrays
    pose_values, intrinsics = pose.tolist(), splats.K.tolist()
    scene = _Scene(
        n=len(means),
        means=_pointer(means),
        quats=_pointer(quats),
        scales=_pointer(scales),
        opacities=_pointer(opacities),
        sh0=_pointer(sh0),
        shN=_pointer(shN),
        extra=_pointer(extra),
        sh_rest=shN.shape[1],
        sh_degree=splats.sh_degree,
        channels=0 if extra is None else extra.shape[1],
        stored=int(splats.stored),
        fx=intrinsics[0][0],
        fy=intrinsics[1][1],
        cx=intrinsics[0][2],
        cy=intrinsics[1][2],
        near=splats.near,
        width=splats.width,
        height=splats.height,
    )
    scene.rotation[:] = [value for row in pose_values[:3] for value in row[:3]]
    scene.translation[:] = [row[3] for row in pose_values[:3]]
    scene.background[:] = splats.background.tolist()
    return scene


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        splats: SplatInput,
        times: StageTimes | None,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        sh0: Tensor,
        shN: Tensor,
        extra: Tensor | None,
        pose: Tensor,
        screen_gradients: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        arrays = tuple(tensor.contiguous() for tensor in (means, quats, scales, opacities, sh0, shN))
        extra = None if extra is None else extra.contiguous()
        scene = _scene(splats, arrays, extra, pose)
        n, height, width = len(means), splats.height, splats.width
        color, depth, alpha = torch.empty(height, width, 3), torch.empty(height, width), torch.empty(height, width)
        blended = None if extra is None else torch.empty(height, width, extra.shape[1])
        radii = torch.empty(n)
        counts = (
            (torch.empty(n), torch.empty(n, dtype=torch.int64), torch.empty(n, dtype=torch.int64))
            if splats.contribution
            else (None, None, None)
        )
        picture = _Picture(*(_pointer(tensor) for tensor in (color, depth, alpha, blended, radii, *counts)))
        workspace = _Workspace.take()
        seconds = (ctypes.c_double * 3)()
        _library().sw_splats_forward(workspace.handle, ctypes.byref(scene), ctypes.byref(picture), seconds)
        if times is not None:
            times.projection, times.binning, times.rasterization = seconds
        lease = _Lease(workspace)
        if any(ctx.needs_input_grad):
            ctx.lease, ctx.splats, ctx.times = lease, splats, times
            ctx.screen_columns = None if screen_gradients is None else screen_gradients.shape[1]
            ctx.save_for_backward(*arrays, extra, pose, color, depth, alpha, blended)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(radii, *(tensor for tensor in counts if tensor is not None))
        return color, depth, alpha, blended, radii, *counts

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        *arrays, extra, pose, color, depth, alpha, blended = ctx.saved_tensors
        d_color, d_depth, d_alpha, d_blended = (None if t is None else t.contiguous() for t in upstream[:4])
        if d_color is None:
            d_color = torch.zeros_like(color)
        if blended is not None and d_blended is None:
            d_blended = torch.zeros_like(blended)
        scene = _scene(ctx.splats, tuple(arrays), extra, pose)
        nothing: list[Tensor | None] = [None] * 8
        picture = _Picture(*(_pointer(tensor) for tensor in (color, depth, alpha, blended, *nothing[:4])))
        out = [torch.empty_like(tensor) for tensor in arrays]
        d_extra = None if extra is None else torch.empty_like(extra)
        screen = None if ctx.screen_columns is None else torch.empty(len(arrays[0]), ctx.screen_columns)
        pose_sums = torch.zeros(12, dtype=torch.float64) if ctx.needs_input_grad[9] else None
        d_pose = None
        gradients = _Gradients(
            *(_pointer(tensor) for tensor in (d_color, d_depth, d_alpha, d_blended, *out, d_extra, screen)),
            ctx.screen_columns or 0,
            _pointer(pose_sums),
        )
        seconds = (ctypes.c_double * 2)()
        _library().sw_splats_backward(
            ctx.lease.workspace.handle, ctypes.byref(scene), ctypes.byref(picture), ctypes.byref(gradients), seconds
        )
        if ctx.times is not None:
            ctx.times.rasterization_backward, ctx.times.projection_backward = seconds
        if pose_sums is not None:
            full = torch.zeros(4, 4, dtype=torch.float64)
            full[:3, :3], full[:3, 3] = pose_sums[:9].view(3, 3), pose_sums[9:]
            d_pose = full.to(pose.dtype)
        return None, None, *out, d_extra, d_pose, screen


def rasterize(splats: SplatInput, times: StageTimes | None = None) -> SplatOutput:
    """See :func:`scenewise.kernels.splats.rasterize`."""
    groups = [None] if splats.extra is None else list(splats.extra.split(_MAX_EXTRA, dim=1))
    blended = []
    first: tuple[Any, ...] | None = None
    for group in groups:
        # Each pass blends some channels; geometry receives the sum of the passes' gradients, which is exact.
        result = _Rasterize.apply(
            splats,
            times,
            splats.means,
            splats.quats,
            splats.scales,
            splats.opacities,
            splats.sh0,
            splats.shN,
            group,
            splats.camera_from_world,
            splats.screen_gradients,
        )
        first = first or result
        blended.append(result[3])
    assert first is not None
    color, depth, alpha, _, radii, weight_sum, pixel_count, argmax_count = first
    return SplatOutput(
        color=color,
        depth=depth,
        alpha=alpha,
        extra=None if splats.extra is None else torch.cat(blended, dim=-1),
        radii=radii,
        contribution=Contribution(weight_sum, pixel_count, argmax_count) if splats.contribution else None,
    )


def gather(splats: SplatInput, field: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`scenewise.kernels.splats.gather`."""
    arrays = tuple(
        tensor.detach().contiguous()
        for tensor in (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh0, splats.shN)
    )
    n, channels = len(splats.means), field.shape[2]
    field = field.detach().to(torch.float32).contiguous()
    scene = _scene(splats, arrays, None, splats.camera_from_world.detach())
    radii, sums, weights = torch.empty(n), torch.zeros(n, channels), torch.zeros(n)
    workspace = _Workspace.take()
    _library().sw_splats_gather(
        workspace.handle,
        ctypes.byref(scene),
        _pointer(field),
        channels,
        radii.data_ptr(),
        sums.data_ptr(),
        weights.data_ptr(),
    )
    workspace.give_back()
    return sums, weights

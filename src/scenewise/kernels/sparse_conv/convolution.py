"""Which backend runs, and the one gradient rule all of them share."""

from typing import Any, Literal

import torch
from torch import Tensor

from scenewise.errors import ResourceError, ShapeError
from scenewise.kernels.sparse_conv import reference, spconv_backend
from scenewise.kernels.sparse_conv.grid import RuleKind, VoxelGrid, native_kernels

Backend = Literal["auto", "native", "reference", "spconv"]
Precision = Literal["float32", "bfloat16"]

_BACK: dict[RuleKind, RuleKind] = {"submanifold": "submanifold", "down": "up", "up": "down"}


def backend_for(device: torch.device, dtype: torch.dtype, wanted: Backend = "auto") -> tuple[Backend, str]:
    """The backend that will run, and why.

    Raises:
        ResourceError: the wanted backend cannot run this input here.
        MissingDependencyError: spconv was asked for and is not installed.
    """
    native = native_kernels()
    can_run_native = native is not None and device.type == "cpu" and dtype == torch.float32
    if wanted == "auto":
        if can_run_native:
            return "native", "float32 tensors on the CPU and the compiled library is loaded"
        if dtype == torch.float64:
            return "reference", "only plain torch computes in float64"
        if device.type != "cpu":
            return "reference", f"plain torch on {device.type}"
        return "reference", "the compiled library cannot run here"
    if wanted == "native" and not can_run_native:
        raise ResourceError(
            "sparse convolution backend native",
            expected="float32 tensors on the CPU and the compiled library",
            got=f"{dtype} on {device}",
            fix='run `scenewise doctor`, or use backend="auto"',
        )
    if wanted == "spconv":
        spconv_backend.check(device, dtype)
    return wanted, "asked for"


def describe(device: torch.device) -> tuple[Backend, str]:
    """The backend of float32 tensors on this device and what it makes of bfloat16, for ``scenewise doctor``."""
    chosen, reason = backend_for(device, torch.float32)
    if chosen == "native":
        rounds = "bfloat16 by AVX512-BF16" if native_kernels().supports_bfloat16() else "no bfloat16 here: float32 runs instead"
    elif device.type == "cpu":
        rounds = "bfloat16 rounds operands but gains no time"
    else:
        rounds = "bfloat16 operands, float32 sums"
    return chosen, f"{reason}; {rounds}"


def convolve(
    features: Tensor,
    weight: Tensor,
    grid: VoxelGrid,
    kind: RuleKind,
    *,
    backend: Backend = "auto",
    precision: Precision = "float32",
) -> Tensor:
    """One convolution, differentiable in features and weight; see the public functions of the package.

    Raises:
        ShapeError: rows, channels or offsets do not fit, or dtypes or devices differ.
    """
    rows = len(grid.down()) if kind == "up" else len(grid)
    offsets = 27 if kind == "submanifold" else 8
    if features.ndim != 2 or len(features) != rows:
        raise ShapeError("features", expected=f"[{rows}, channels], one row per input voxel", got=tuple(features.shape))
    if weight.ndim != 3 or weight.shape[:2] != (offsets, features.shape[1]):
        raise ShapeError("weight", expected=f"[{offsets}, {features.shape[1]}, channels]", got=tuple(weight.shape))
    if features.device != weight.device or features.device != grid.coords.device:
        devices = f"{features.device}, {weight.device}, {grid.coords.device}"
        raise ShapeError("features, weight, grid", expected="one device", got=devices)
    if features.dtype != torch.float64:
        # Half precision comes from mixed precision around us; the operands' precision is our own argument.
        features, weight = features.to(torch.float32), weight.to(torch.float32)
    elif weight.dtype != torch.float64:
        raise ShapeError("weight", expected="float64, as features", got=weight.dtype)
    chosen, _ = backend_for(features.device, features.dtype, backend)
    bfloat16 = precision == "bfloat16" and features.dtype == torch.float32
    with torch.autocast(features.device.type, enabled=False):
        if chosen == "spconv":
            return spconv_backend.convolve(features, weight, grid, kind)
        kernels = native_kernels() if chosen == "native" else reference
        if bfloat16 and chosen == "native" and not kernels.supports_bfloat16():
            bfloat16 = False  # a permission to round, not a duty: without the instructions float32 is the faster one
        out: Tensor = _Convolve.apply(features, weight, grid, kind, kernels, bfloat16)
    return out


class _Convolve(torch.autograd.Function):
    """Σₖ x[i]·W[k] and its two gradients, each one call of the backend."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, grid: VoxelGrid, kind: RuleKind, kernels: Any, bfloat16: bool
    ) -> Tensor:
        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.grid, ctx.kind, ctx.kernels, ctx.bfloat16 = grid, kind, kernels, bfloat16
        rule = grid.rule(kind, kernels)
        out: Tensor = kernels.convolve(features, weight, rule, transposed=False, mirrored=False, bfloat16=bfloat16)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        grid, kind, kernels = ctx.grid, ctx.kind, ctx.kernels
        gradient = gradient.contiguous()
        d_features = d_weight = None
        if ctx.needs_input_grad[0]:
            # A pair (i, o) at offset k is the pair (o, i) of the opposite offset, of the up rule, of the down rule.
            rule = grid.rule(_BACK[kind], kernels)
            mirrored = kind == "submanifold"
            d_features = kernels.convolve(gradient, weight, rule, transposed=True, mirrored=mirrored, bfloat16=ctx.bfloat16)
        if ctx.needs_input_grad[1]:
            rule = grid.rule(kind, kernels)
            d_weight = kernels.weight_gradient(features, gradient, rule, bfloat16=ctx.bfloat16)
        return d_features, d_weight, None, None, None, None

"""The decoder of neural anchors in the compiled library (native/anchor_decoder.cpp)."""

import ctypes
import math
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.kernels.anchor_decoder.interface import AnchorInput, DecodedChildren, DecoderHeads, rows_do_not_rise
from scenewise.kernels.native import library

_POINTER = ctypes.c_void_p
_HEADS = tuple(field.name for field in fields(DecoderHeads))


class _Scene(ctypes.Structure):
    _fields_ = (
        ("n", ctypes.c_int64),
        ("visible", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("slots", "channels", "hidden", "teacher_passes_gradients")),
        *((name, _POINTER) for name in ("positions", "offsets", "features", "log_scales", "rows")),
        ("heads", _POINTER * 3),
        ("teacher", _POINTER * 3),
        ("center", ctypes.c_float * 3),
    )


class _Children(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, _POINTER) for name in ("means", "log_scales", "quats", "logits", "sh0", "row_of", "slot_of")),
        *((name, _POINTER) for name in ("opacities", "raw_opacities", "teacher_opacities", "first_child")),
        *((name, _POINTER) for name in ("squares", "differences", "kept", "others")),
    )


class _Gradients(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("means", "log_scales", "quats", "logits", "sh0", "differences")),
        *((name, _POINTER) for name in ("offsets", "features", "anchor_scales")),
        ("heads", _POINTER * 3),
    )


@cache
def _library() -> Any:
    lib = library.load()
    if lib is None:
        return None
    lib.sw_anchor_decoder_chunks.argtypes, lib.sw_anchor_decoder_chunks.restype = [ctypes.c_int64], ctypes.c_int64
    lib.sw_anchor_decoder_count.argtypes, lib.sw_anchor_decoder_count.restype = [_POINTER] * 2, ctypes.c_int64
    lib.sw_anchor_decoder_write.argtypes, lib.sw_anchor_decoder_write.restype = [_POINTER] * 2, None
    lib.sw_anchor_decoder_backward.argtypes, lib.sw_anchor_decoder_backward.restype = [_POINTER] * 3, None
    lib.sw_anchor_decoder_visible.argtypes = [ctypes.c_int64, *[_POINTER] * 5, ctypes.c_float, _POINTER]
    lib.sw_anchor_decoder_visible.restype = ctypes.c_int64
    return lib


def takes(*tensors: Tensor) -> bool:
    """All float32 on the CPU, and the library is there."""
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors) and _library() is not None


def can_run(anchors: AnchorInput) -> bool:
    """Everything but rows and centre is float32 on the CPU, and the library is there."""
    decoders = (anchors.heads, *(() if anchors.teacher is None else (anchors.teacher,)))
    weights = [getattr(heads, name) for heads in decoders for name in _HEADS]
    return takes(anchors.positions, anchors.offsets, anchors.features, anchors.log_scales, *weights)


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _scene(anchors: AnchorInput, arrays: tuple[Tensor, ...], rows: Tensor) -> _Scene:
    """Of arrays: positions, offsets, features, log scales, the three heads, and the teacher's three if there is one."""
    scene = _Scene(
        n=len(anchors.positions),
        visible=len(rows),
        slots=anchors.slots,
        channels=anchors.features.shape[1],
        hidden=anchors.hidden,
        teacher_passes_gradients=int(anchors.teacher_passes_gradients),
    )
    scene.positions, scene.offsets, scene.features, scene.log_scales, scene.rows = _pointers(*arrays[:4], rows)
    scene.heads[:] = _pointers(*arrays[4:7])
    if anchors.teacher is not None:
        scene.teacher[:] = _pointers(*arrays[7:])
    scene.center[:] = anchors.center.tolist()
    return scene


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        anchors: AnchorInput,
        offsets: Tensor,
        features: Tensor,
        log_scales: Tensor,
        opacity: Tensor,
        color: Tensor,
        covariance: Tensor,
    ) -> tuple[Tensor | None, ...]:
        teacher = () if anchors.teacher is None else tuple(getattr(anchors.teacher, name).detach() for name in _HEADS)
        inputs = (anchors.positions.detach(), offsets, features, log_scales, opacity, color, covariance, *teacher)
        arrays, rows = tuple(tensor.contiguous() for tensor in inputs), anchors.rows.to("cpu", torch.int64).contiguous()
        scene, lib = _scene(anchors, arrays, rows), _library()
        chunks, visible, slots = lib.sw_anchor_decoder_chunks(len(rows)), len(rows), anchors.slots
        opacities, raw = torch.empty(visible, slots), torch.empty(visible, slots)
        first_child, squares = torch.empty(chunks + 1, dtype=torch.int64), torch.zeros(chunks, 4, dtype=torch.float64)
        others_opacities, differences = (torch.empty(visible, slots), torch.empty(4)) if teacher else (None, None)
        children = _Children()
        children.opacities, children.raw_opacities, children.teacher_opacities = _pointers(opacities, raw, others_opacities)
        children.first_child, children.squares, children.differences = _pointers(first_child, squares, differences)
        m = lib.sw_anchor_decoder_count(ctypes.byref(scene), ctypes.byref(children))
        if m < 0:
            raise rows_do_not_rise(anchors)
        means, scales, quats, logits, sh0 = (torch.empty(m, *shape) for shape in ((3,), (3,), (4,), (), (1, 3)))
        row_of, slot_of = torch.empty(m, dtype=torch.int64), torch.empty(m, dtype=torch.int64)
        learns = any(ctx.needs_input_grad)
        kept, others = torch.empty(4, m) if learns else None, torch.empty(14, m) if learns and teacher else None
        children.count = m
        children.means, children.log_scales, children.quats, children.logits, children.sh0 = _pointers(
            means, scales, quats, logits, sh0
        )
        children.row_of, children.slot_of, children.kept, children.others = _pointers(row_of, slot_of, kept, others)
        lib.sw_anchor_decoder_write(ctypes.byref(scene), ctypes.byref(children))
        if learns:
            ctx.anchors = anchors
            ctx.save_for_backward(scales, quats, sh0, opacities, others_opacities, first_child, kept, others, rows, *arrays)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(row_of, slot_of, opacities)
        return means, scales, quats, logits, sh0, row_of, slot_of, opacities, differences

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
        scales, quats, sh0, opacities, others_opacities, first_child, kept, others, rows, *arrays = ctx.saved_tensors
        if len(rows) == 0:
            return None, *(torch.zeros_like(array) for array in arrays[1:7])
        scene = _scene(ctx.anchors, tuple(arrays), rows)
        children = _Children(count=len(scales))
        children.log_scales, children.quats, children.sh0, children.opacities = _pointers(scales, quats, sh0, opacities)
        children.teacher_opacities, children.first_child, children.kept, children.others = _pointers(
            others_opacities, first_child, kept, others
        )
        given = [None if tensor is None else tensor.contiguous() for tensor in (*upstream[:5], upstream[8])]
        out = [torch.empty_like(array) for array in arrays[1:4]]
        weights = [torch.empty_like(array) for array in arrays[4:7]] if any(ctx.needs_input_grad[4:]) else [None] * 3
        gradients = _Gradients(*_pointers(*given, *out))
        gradients.heads[:] = _pointers(*weights)
        _library().sw_anchor_decoder_backward(ctypes.byref(scene), ctypes.byref(children), ctypes.byref(gradients))
        return None, *out, *weights


def decode(anchors: AnchorInput) -> DecodedChildren:
    """See :func:`scenewise.kernels.anchor_decoder.decode`."""
    heads = (getattr(anchors.heads, name) for name in _HEADS)
    return DecodedChildren(*_Decode.apply(anchors, anchors.offsets, anchors.features, anchors.log_scales, *heads))


def visible_rows(
    positions: Float[Tensor, "n 3"],
    log_scales: Float[Tensor, "n 6"],
    camera_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
    near: float,
    reach: float,
) -> Int64[Tensor, " visible"]:
    """See :func:`scenewise.kernels.anchor_decoder.visible_rows`."""
    positions, log_scales = positions.detach().contiguous(), log_scales.detach().contiguous()
    (fx, _, cx), (_, fy, cy), _ = K.tolist()
    slopes = (-cx / fx, (size[0] - cx) / fx, -cy / fy, (size[1] - cy) / fy)
    reaches = (reach * math.hypot(1.0, slope) for slope in slopes)
    pose = [value for row in camera_from_world[:3].tolist() for value in row]
    rows = torch.empty(len(positions), dtype=torch.int64)
    found = _library().sw_anchor_decoder_visible(
        len(positions),
        positions.data_ptr(),
        log_scales.data_ptr(),
        (ctypes.c_float * 12)(*pose),
        (ctypes.c_float * 4)(*slopes),
        (ctypes.c_float * 4)(*reaches),
        near,
        rows.data_ptr(),
    )
    return rows[:found].clone()

"""Occupied voxels, their levels and what convolution caches about them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, final

from jaxtyping import Int32, Int64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.sparse_conv import native, reference
from scenewise.kernels.sparse_conv.keys import check, keys_from_coords

RuleKind = Literal["submanifold", "down", "up"]
T = TypeVar("T")


@final
class VoxelGrid:
    """Occupied voxels of one or several scenes.

    Rows are in the order of :mod:`scenewise.kernels.sparse_conv.keys`, which depends on the set of voxels only.  Coarser levels,
    neighbours and rules of convolution are computed when first asked for and kept; the grid does not change otherwise.  Made by
    :func:`voxelise` and :meth:`down`.

    Attributes:
        coords: (batch, x, y, z), unique; floor division by ``stride`` has been done, so neighbours differ by 1 on every level.
        stride: edge of a voxel in voxels of the finest level.
        batch_size: scenes, empty ones included.
    """

    def __init__(self, coords: Int32[Tensor, "v 4"], *, stride: int, batch_size: int) -> None:
        self.coords = coords
        self.stride = stride
        self.batch_size = batch_size
        self._coarser: tuple[VoxelGrid, Tensor, Tensor] | None = None
        self._kept: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.coords)

    def __repr__(self) -> str:
        return f"VoxelGrid({len(self)} voxels, stride {self.stride}, batch of {self.batch_size}, {self.coords.device})"

    def down(self) -> "VoxelGrid":
        """The voxels of twice the edge that hold at least one of these."""
        return self._down()[0]

    @property
    def parent(self) -> Int64[Tensor, "v"]:
        """Row in :meth:`down` of the voxel that holds this one."""
        return self._down()[1]

    @property
    def child(self) -> Int64[Tensor, "v"]:
        """Place in the parent: (x & 1)·4 + (y & 1)·2 + (z & 1)."""
        return self._down()[2]

    def neighbours(self) -> Int64[Tensor, "v 27"]:
        """Row of the neighbour at offset (dx + 1)·9 + (dy + 1)·3 + (dz + 1), or v where there is none."""
        rule: reference.Rule = self.rule("submanifold", reference)
        assert rule.table is not None
        return rule.table

    @cached_property
    def keys(self) -> Int64[Tensor, "v"]:
        """Ascending keys of the rows."""
        return keys_from_coords(self.coords)

    def rule(self, kind: RuleKind, kernels: Any) -> Any:
        """The rule of a backend (its module) for convolution within this grid, from it to :meth:`down`, or back; made once."""
        make: dict[RuleKind, Callable[[], Any]] = {
            "submanifold": lambda: kernels.submanifold_rule(self.coords),
            "down": lambda: kernels.down_rule(self.parent, self.child, len(self.down())),
            "up": lambda: kernels.up_rule(self.parent, self.child, len(self.down())),
        }
        return self.kept((kernels.__name__, kind), make[kind])

    def kept(self, name: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returned when this name was first asked for."""
        if name not in self._kept:
            self._kept[name] = make()
        value: T = self._kept[name]
        return value

    def _down(self) -> tuple["VoxelGrid", Tensor, Tensor]:
        if self._coarser is None:
            coords, parent, child = _voxel_kernels(self.coords).down_voxels(self.coords)
            grid = VoxelGrid(coords, stride=2 * self.stride, batch_size=self.batch_size)
            self._coarser = (grid, parent, child)
        return self._coarser


@dataclass(frozen=True)
class Voxelisation:
    """Points sorted into voxels.

    Attributes:
        grid: the occupied voxels.
        voxel_of_point: row of the grid each point lies in.
        counts: points per voxel, at least 1.
    """

    grid: VoxelGrid
    voxel_of_point: Int64[Tensor, "n"]
    counts: Int64[Tensor, "v"]

    @cached_property
    def points_by_voxel(self) -> Int64[Tensor, "n"]:
        """Points in the order of their voxels, and within a voxel in their own order."""
        return self.voxel_of_point.argsort(stable=True)


def voxelise(coords: Int32[Tensor, "n 4"], *, batch_size: int | None = None) -> Voxelisation:
    """Merges points of the same voxel and sorts the voxels.

    Args:
        coords: (batch, x, y, z) per point, in any order, as often as they come.
        batch_size: scenes, where the last ones may be empty; the largest batch item + 1 where not given.

    Raises:
        ShapeError: not int32 [n, 4], or a batch item beyond ``batch_size``.
        ConventionError: coordinates beyond ±131070 or more than 512 batch items, which the 64-bit keys cannot hold.
    """
    check(coords)
    found = int(coords[:, 0].max()) + 1 if len(coords) else 0
    if batch_size is not None and found > batch_size:
        raise ShapeError("coords", expected=f"batch items below batch_size = {batch_size}", got=found - 1)
    unique, voxel_of_point, counts = _voxel_kernels(coords).sorted_voxels(coords.contiguous())
    grid = VoxelGrid(unique, stride=1, batch_size=found if batch_size is None else batch_size)
    return Voxelisation(grid, voxel_of_point, counts)


def _voxel_kernels(coords: Tensor) -> Any:
    """The module that sorts voxels of this device."""
    native = native_kernels()
    return native if coords.device.type == "cpu" and native is not None else reference


def native_kernels() -> Any:
    """The compiled backend's module, or None where it cannot run."""
    return native if native.is_available() else None

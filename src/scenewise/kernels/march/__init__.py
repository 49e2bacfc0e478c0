"""Ray marching of a sparse volume: features and densities of occupied voxels in, what rays gather out, differentiable."""

from dataclasses import replace
from typing import Literal

import torch

from scenewise.errors import ConventionError, ResourceError, ShapeError
from scenewise.kernels.march import native, reference
from scenewise.kernels.march.interface import MarchInput, MarchOutput, interval_lengths

__all__ = ["Backend", "MarchInput", "MarchOutput", "backend_for", "interval_lengths", "march"]

Backend = Literal["auto", "reference", "native"]


def backend_for(rays: MarchInput, wanted: Backend = "auto") -> tuple[Backend, str]:
    """The backend that will run, and why.

    Raises:
        ResourceError: the wanted one cannot run this input here.
    """
    if wanted == "auto":
        if native.can_run(rays):
            return "native", "float32 tensors on the CPU and the compiled library is loaded"
        return "reference", "the compiled library takes float32 tensors on the CPU"
    if wanted == "native" and not native.can_run(rays):
        raise ResourceError(
            "ray marching native",
            expected="float32 tensors on the CPU and the compiled library",
            got=f"{rays.features.dtype} on {rays.features.device}",
            fix="run `scenewise doctor`",
        )
    return wanted, "asked for"


def march(rays: MarchInput, backend: Backend = "auto") -> MarchOutput:
    """What each ray gathers of a volume, differentiable in the features and, where asked for, in the densities.

    With density σ_i and feature f_i at sample i, which stands for a length δ_i of a ray of direction d:
    α_i = 1 − e^{−σ_i δ_i ‖d‖}, T_i = Π_{j<i} (1 − α_j), w_i = T_i α_i.  σ is trilinear in the voxel centres with 0 for empty
    voxels; f is trilinear over the occupied ones with their weights divided by their sum, as
    :func:`scenewise.kernels.sparse_conv.trilinear` has it.  A place without an occupied voxel around it has neither.

    On the CPU all sums have a fixed order; bits do not depend on the number of threads.  The compiled backend ends a ray of
    which less than 1e-9 is left.  Source: Mildenhall et al. 2020, arXiv 2003.08934, Eq. 3, with colours replaced by features.

    Raises:
        ShapeError: rows do not fit the grid or each other.
        ConventionError: densities or lengths that are negative or not finite.
        ResourceError: see :func:`backend_for`.
    """
    v, (r, s) = len(rays.grid), rays.distances.shape
    for name, rows in (("features", v), ("densities", v), ("origins", r), ("directions", r), ("batch", r), ("lengths", r)):
        if len(getattr(rays, name)) != rows:
            raise ShapeError(name, expected=f"{rows} rows", got=len(getattr(rays, name)))
    if rays.lengths.shape[1] != s:
        raise ShapeError("lengths", expected=f"{s} columns, as distances", got=rays.lengths.shape[1])
    for name in ("densities", "lengths"):
        values = getattr(rays, name).detach()
        if values.numel() and not (float(values.amin()) >= 0.0 and float(values.amax()) < float("inf")):
            got = f"between {float(values.amin()):.6g} and {float(values.amax()):.6g}"
            raise ConventionError(name, expected="finite values of at least 0", got=got)
    dtype = torch.float64 if rays.features.dtype == torch.float64 else torch.float32
    names = ("features", "densities", "distances", "lengths")
    rays = replace(rays, **{name: getattr(rays, name).to(dtype) for name in names})
    chosen, _ = backend_for(rays, backend)
    with torch.autocast(rays.features.device.type, enabled=False):
        return native.march(rays) if chosen == "native" else reference.march(rays)

"""Statistics of Gaussians, gathered in the rows of the store that they came from."""

import torch
from jaxtyping import Int64
from torch import Tensor


def add_to_rows(record: Tensor, values: Tensor, row_of: Int64[Tensor, "n"] | None) -> None:
    """Adds to each row the values of its Gaussians, in place; rows without any stay.

    Args:
        record: one entry per row.
        values: one entry per Gaussian.
        row_of: row of each Gaussian; None: Gaussian i is row i.
    """
    if row_of is None:
        record.add_(values)
    else:
        record.index_add_(0, row_of, values.to(record.dtype))


def raise_rows(record: Tensor, values: Tensor, row_of: Int64[Tensor, "n"] | None) -> None:
    """Raises each row to the largest value of its Gaussians, in place; arguments as in :func:`add_to_rows`."""
    if row_of is None:
        torch.maximum(record, values, out=record)
    else:
        record.scatter_reduce_(0, row_of, values.to(record.dtype), "amax")


def summed_in_rows(values: Tensor, row_of: Int64[Tensor, "n"] | None, rows: int) -> Tensor:
    """Sum of the values of each row's Gaussians, 0 where it has none; arguments as in :func:`add_to_rows`.

    Args:
        values: one entry per Gaussian.
        row_of: row of each Gaussian; None gives the values themselves.
        rows: of the store.
    """
    if row_of is None:
        return values
    return values.new_zeros(rows).index_add_(0, row_of, values)

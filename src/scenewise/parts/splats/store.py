"""The one place where Gaussians are added, removed and rewritten: parameters, Adam moments and per-row records move together.

Every densification scheme edits rows while the optimiser holds two moments for each of them.  When those get out of step nothing
crashes, the result is only worse; so nobody but these classes holds the moments, and each edit below changes all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.parts.splats.adam import AdamParameters, AdamSettings

RowMoments = Literal["zero", "copy"]
ValueMoments = Literal["zero", "keep"]


@dataclass
class _RowRecord:
    """Per-row values that are not optimised (statistics, identities) and what a new row starts with."""

    value: Tensor
    fill: float


@final
class ParameterStore(AdamParameters):
    """Named float32 parameters with one row per Gaussian (or anchor), their Adam state, and per-row records.

    Args:
        parameters: tensors that share their first axis; copied.
        learning_rates: one per parameter.
        adam: constants of the optimiser.
        track_identity: also keep a record ``identity`` (int64) that numbers rows in order of birth; for tests and provenance.

    Raises:
        ShapeError: first axes differ, or a dtype other than float32.
        ConventionError: a parameter without learning rate.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rates: Mapping[str, float],
        *,
        adam: AdamSettings | None = None,
        track_identity: bool = False,
    ) -> None:
        if not parameters:
            raise ShapeError("parameters", expected="at least one", got=0)
        rows = {name: value.shape[0] for name, value in parameters.items()}
        if len(set(rows.values())) != 1:
            raise ShapeError("rows of the parameters", expected="the same number for all", got=rows)
        super().__init__(parameters, learning_rates, adam=adam)
        self._records: dict[str, _RowRecord] = {}
        self._born = 0
        if track_identity:
            self._records["identity"] = _RowRecord(torch.arange(len(self), dtype=torch.int64, device=self.device), 0.0)
            self._born = len(self)

    def __len__(self) -> int:
        """Number of rows."""
        return next(iter(self._groups.values())).value.shape[0]

    @property
    def device(self) -> torch.device:
        """Where all rows live."""
        return next(iter(self._groups.values())).value.device

    def reset_moments(self, name: str) -> None:
        """Zero both moments of one parameter, for all rows."""
        self._groups[name].first_moment.zero_()
        self._groups[name].second_moment.zero_()

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """First and second moment of one parameter, to read."""
        return self._groups[name].first_moment, self._groups[name].second_moment

    # ------------------------------------------------------------------------------------------------------------------- rows

    def select(self, rows: Bool[Tensor, "n"] | Int[Tensor, "kept"]) -> None:
        """Keep only these rows, in this order."""
        index = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        for group in self._groups.values():
            group.rewrite(group.value.detach()[index], group.first_moment[index], group.second_moment[index])
        for record in self._records.values():
            record.value = record.value[index]

    def append(
        self, rows: Mapping[str, Tensor], *, moments: RowMoments = "zero", source: Int[Tensor, "added"] | None = None
    ) -> None:
        """Add rows at the end.

        Args:
            rows: values of every parameter for the new rows.
            moments: "zero" starts them at rest, as Kerbl et al. do; "copy" gives them the moments of ``source``.
            source: the row each new one descends from.  With it, records are copied from there instead of started afresh when
                ``moments`` is "copy".

        Raises:
            ShapeError: a parameter is missing, unknown, or has another shape than the stored rows.
        """
        if moments == "copy" and source is None:
            raise ShapeError("source", expected="a row for every new one, to copy the moments from", got=None)
        added = self._check_rows(rows, complete=True)
        for name, group in self._groups.items():
            new = rows[name].detach().to(group.value.device)
            if moments == "copy":
                first, second = group.first_moment[source], group.second_moment[source]
            else:
                first = second = torch.zeros_like(new)
            group.rewrite(
                torch.cat([group.value.detach(), new]),
                torch.cat([group.first_moment, first]),
                torch.cat([group.second_moment, second]),
            )
        for name, record in self._records.items():
            if name == "identity":
                new = torch.arange(self._born, self._born + added, dtype=torch.int64, device=record.value.device)
            elif moments == "copy":
                new = record.value[source]
            else:
                new = record.value.new_full((added, *record.value.shape[1:]), record.fill)
            record.value = torch.cat([record.value, new])
        self._born += added

    @torch.no_grad()
    def replace(self, index: Int[Tensor, "changed"], values: Mapping[str, Tensor], *, moments: ValueMoments = "zero") -> None:
        """Overwrite some parameters of some rows.

        Args:
            index: which rows, each at most once.
            values: new values by parameter name; parameters that are not named keep theirs.
            moments: "zero" restarts the moments of the named parameters and the records of these rows; "keep" leaves both.

        Raises:
            ShapeError: an unknown parameter or another shape than the stored rows.
        """
        changed = self._check_rows(values, complete=False)
        if changed != index.shape[0]:
            raise ShapeError("values", expected=f"{index.shape[0]} rows", got=changed)
        for name, new in values.items():
            group = self._groups[name]
            group.value.index_copy_(0, index, new.detach())
            if moments == "zero":
                group.first_moment.index_fill_(0, index, 0.0)
                group.second_moment.index_fill_(0, index, 0.0)
        if moments == "zero":
            for name, record in self._records.items():
                if name != "identity":
                    record.value.index_fill_(0, index, record.fill)

    @torch.no_grad()
    def replace_all(self, name: str, value: Tensor, *, moments: ValueMoments) -> None:
        """Overwrite one parameter of all rows, in place; ``moments`` as in :meth:`replace`, records untouched."""
        group = self._groups[name]
        if value.shape != group.value.shape:
            raise ShapeError(name, expected=f"{tuple(group.value.shape)}", got=f"{tuple(value.shape)}")
        group.value.copy_(value.detach())
        if moments == "zero":
            self.reset_moments(name)

    def widen(self, name: str, columns: int) -> None:
        """Give a parameter of shape [n, k, …] zero-initialised columns k … ``columns`` − 1 on its second axis, at rest.

        Spherical-harmonic degrees that are not yet active then cost neither memory nor time.
        """
        group = self._groups[name]
        extra = columns - group.value.shape[1]
        if extra < 0:
            raise ShapeError(name, expected=f"at most {columns} columns", got=group.value.shape[1])
        zeros = group.value.new_zeros(group.value.shape[0], extra, *group.value.shape[2:])
        group.rewrite(
            torch.cat([group.value.detach(), zeros], 1),
            torch.cat([group.first_moment, zeros], 1),
            torch.cat([group.second_moment, zeros], 1),
        )

    def _check_rows(self, rows: Mapping[str, Tensor], *, complete: bool) -> int:
        unknown = [name for name in rows if name not in self._groups]
        missing = [name for name in self._groups if name not in rows] if complete else []
        if unknown or missing or not rows:
            raise ShapeError("rows", expected=f"values of {', '.join(self._groups)}", got=f"{', '.join(rows) or 'nothing'}")
        for name, value in rows.items():
            stored = self._groups[name].value
            if value.shape[1:] != stored.shape[1:] or value.dtype != stored.dtype:
                raise ShapeError(
                    f"rows of {name}",
                    expected=f"[n, {tuple(stored.shape[1:])}] {stored.dtype}",
                    got=f"{tuple(value.shape)} {value.dtype}",
                )
        counts = {value.shape[0] for value in rows.values()}
        if len(counts) != 1:
            raise ShapeError("rows", expected="the same number for every parameter", got=sorted(counts))
        return counts.pop()

    # ---------------------------------------------------------------------------------------------------------------- records

    def attach(self, name: str, value: Tensor, *, fill: float = 0.0) -> None:
        """Keep ``value`` (one entry per row, not optimised) aligned with the rows; new and restarted rows get ``fill``."""
        if value.shape[:1] != (len(self),):
            raise ShapeError(f"record {name}", expected=f"{len(self)} rows", got=f"{tuple(value.shape)}")
        self._records[name] = _RowRecord(value, fill)

    def detach(self, name: str) -> None:
        """Stop keeping a record."""
        del self._records[name]

    def record(self, name: str) -> Tensor:
        """A record's values; in-place edits are kept."""
        return self._records[name].value

    # ------------------------------------------------------------------------------------------------------------------ state

    @property
    def bytes(self) -> int:
        """Memory of parameters, moments and records, gradients not counted."""
        groups = sum(3 * group.value.nbytes for group in self._groups.values())
        return groups + sum(record.value.nbytes for record in self._records.values())

    def record_tensors(self) -> dict[str, Tensor]:
        """Per-row records, and the number of rows ever born; not copies."""
        tensors = {name: record.value for name, record in self._records.items()}
        fills = {f"{name}.fill": torch.tensor(record.fill, dtype=torch.float64) for name, record in self._records.items()}
        return tensors | fills | {"born": torch.tensor(self._born, dtype=torch.int64)}

    def load(self, parameters: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], records: Mapping[str, Tensor]) -> None:
        """Become exactly what the three dictionaries were taken from.

        Raises:
            ConventionError, ShapeError: they belong to another set of parameters.
        """
        self._load_groups(parameters, optimizer)
        names = [name for name in records if name != "born" and not name.endswith(".fill")]
        self._records = {
            name: _RowRecord(records[name].to(self.device, copy=True), float(records[f"{name}.fill"])) for name in names
        }
        self._born = int(records["born"])

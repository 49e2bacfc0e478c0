"""Posed scans in files, read when they are asked for; as many as fit stay in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import final

from scenewise.errors import ConventionError
from scenewise.io.json_values import fingerprint_of
from scenewise.parts.scans.posed_scans import PosedScan, read_posed_scan

DEFAULT_MEMORY = 2 << 30
"""Bytes of scans that are kept."""


@final
class PosedScanFiles:
    """Scans by number.

    Args:
        paths: of the files.
        fingerprints: of each; what changes with anything that shaped it.
        weights: how often each is drawn beside the others; None: equally often.
        max_bytes: of scans that stay in memory, or one larger scan.
        views: which pictures of each are shown; None: all.

    Attributes:
        weights: of each.
        fingerprint: of all together.

    Raises:
        ConventionError: no scan, weights that are not above 0, or a scan without pictures.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        fingerprints: Sequence[str],
        weights: Sequence[float] | None = None,
        max_bytes: int = DEFAULT_MEMORY,
        views: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if not paths:
            raise ConventionError("scans", expected="at least one", got="none")
        self.paths, self.fingerprints = tuple(paths), tuple(fingerprints)
        self.weights: Sequence[float] = (1.0,) * len(paths) if weights is None else tuple(weights)
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise ConventionError("weights", expected="above 0", got=min(self.weights))
        self._views = None if views is None else tuple(list(chosen) for chosen in views)
        if self._views is not None and not all(self._views):
            raise ConventionError("views", expected="at least one of every scan", got="none")
        about = {"scans": list(fingerprints), "weights": list(self.weights)}
        self.fingerprint = fingerprint_of(about if self._views is None else {**about, "views": self._views})
        self.max_bytes = max_bytes
        self._kept: OrderedDict[int, PosedScan] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> PosedScan:
        """A scan; DataFormatError where its file is gone or damaged."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        scan = read_posed_scan(self.paths[index], self.fingerprints[index])
        if self._views is not None:
            scan = scan.with_views(self._views[index])
        self._kept[index] = scan
        self._bytes += scan.num_bytes
        while self._bytes > self.max_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].num_bytes
        return scan

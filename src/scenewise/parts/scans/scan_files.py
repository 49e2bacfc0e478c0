"""Prepared scans on the disk, one safetensors file each, and a sequence that reads them when they are asked for.

points f32 [n, 3], inputs f32 [n, channels], segments [n], pixels.element / .view / .row / .column [pairs]; for view 3 labels.3
[height, width], confidence.3 f16, image.3 u8, regions.3, targets.3 f16.  Whole numbers take the smallest signed type that holds
them.  The metadata has one entry, a JSON object with the names, the fingerprint and the summary.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final, overload

import numpy as np
from jaxtyping import Float32

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.bounded import open_bounded
from scenewise.io.product_kinds import SCAN, safe_stem
from scenewise.io.products import find, keep, of_bytes
from scenewise.parts.scans.preparation import PreparedScan, ScanSummary, labelled_share
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.vocabularies import Vocabulary

_ABOUT = "scan"
_VERSION = 1
_WHOLE = ("I8", "I16", "I32")
_PIXEL_COLUMNS = ("element", "view", "row", "column")
DEFAULT_MEMORY = 1 << 30
"""Bytes of scans that a :class:`ScanSet` keeps."""


def write_scan(path: str | Path, prepared: PreparedScan, fingerprint: str = "") -> None:
    """A prepared scan to a file, which is there in full or not at all.

    Args:
        path: to write.
        prepared: the scan and its summary.
        fingerprint: of everything that shaped it.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    keep(Path(path), SCAN, fingerprint, of_bytes(scan_file_content(prepared, fingerprint)))


def scan_file_content(prepared: PreparedScan, fingerprint: str) -> bytes:
    """What :func:`write_scan` writes."""
    from safetensors.numpy import save

    scan = prepared.scan
    tensors: dict[str, np.ndarray] = {
        "points": scan.points_in_scan,
        "inputs": scan.inputs,
        "segments": _smallest(scan.segments),
    }
    tensors |= {f"pixels.{name}": _smallest(getattr(scan.pixels, name)) for name in _PIXEL_COLUMNS}
    for index, view in enumerate(scan.views):
        tensors[f"labels.{index}"] = _smallest(view.labels.class_ids)
        tensors[f"confidence.{index}"] = view.labels.confidence.astype(np.float16)
        if view.image_u8 is not None:
            tensors[f"image.{index}"] = view.image_u8
        if view.regions is not None:
            tensors[f"regions.{index}"] = _smallest(view.regions)
        if view.targets is not None:
            tensors[f"targets.{index}"] = view.targets
    about = {
        "version": _VERSION,
        "name": scan.name,
        "fingerprint": fingerprint,
        "views": [view.name for view in scan.views],
        "summary": asdict(prepared.summary),
    }
    return save(
        {name: np.ascontiguousarray(values) for name, values in tensors.items()},
        metadata={_ABOUT: json.dumps(about, ensure_ascii=False, sort_keys=True)},
    )


def read_scan(path: str | Path) -> PreparedScan:
    """A scan from a file.

    Raises:
        DataFormatError: not such a file, tensors that are missing or do not fit each other, or pixels outside the pictures.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(path, (file.metadata() or {}).get(_ABOUT))
            tensors = _Tensors(path, file)
            return PreparedScan(_scan(path, about, tensors), _summary(path, about["summary"]))
    except SafetensorError as error:
        raise DataFormatError(
            path, expected="a safetensors file", got=str(error)[:120], fix="delete it; it is made anew"
        ) from error
    except DataFormatError:
        raise
    except (ScenewiseError, TypeError, ValueError) as error:  # the records' own checks
        raise DataFormatError(path, expected="a prepared scan", got=str(error)[:200], fix="delete it; it is made anew") from error


def read_scan_header(path: str | Path) -> tuple[str, ScanSummary]:
    """Fingerprint and summary of a scan file, without its tensors; errors as in :func:`read_scan`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open_bounded(path):
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            about = _about(path, (file.metadata() or {}).get(_ABOUT))
    except SafetensorError as error:
        raise DataFormatError(
            path, expected="a safetensors file", got=str(error)[:120], fix="delete it; it is made anew"
        ) from error
    return about["fingerprint"], _summary(path, about["summary"])


@final
class ScanCache:
    """Prepared scans in a folder, each under its name and fingerprint, so that several preparations may share it.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, name: str, fingerprint: str) -> Path:
        """Where a scan is kept."""
        return SCAN.path(self.folder, safe_stem(name), fingerprint)

    def find(self, name: str, fingerprint: str) -> ScanSummary | None:
        """The summary of a scan that is there whole; None where it has to be prepared, a damaged file included."""

        def read(path: Path) -> ScanSummary:
            found, summary = read_scan_header(path)
            if found != fingerprint or summary.name != name:
                raise DataFormatError(
                    path, expected=f"{name} of {fingerprint}", got=f"{summary.name} of {found}", fix="delete it"
                )
            return summary

        return find(self.path(name, fingerprint), SCAN, fingerprint, read)

    def keep(self, prepared: PreparedScan, fingerprint: str) -> None:
        """Writes a scan; errors as in :func:`write_scan`."""
        write_scan(self.path(prepared.scan.name, fingerprint), prepared, fingerprint)


@final
class ScanSet(Sequence[TrainingScan]):
    """Prepared scans, read when they are asked for; at most ``max_bytes`` of them stay in memory, or one larger scan.

    Attributes:
        names: of the scans.
        vocabulary: the classes.
        text: unit embedding per class [classes, dim]: what student features are compared with.
        text_source: whose.
        fingerprint: changes when anything that shapes the scans does.
        summaries: of the preparation, in order.
        about: settings and whoever was asked, as JSON values.
    """

    def __init__(
        self,
        summaries: Sequence[ScanSummary],
        load: Callable[[int], TrainingScan],
        vocabulary: Vocabulary,
        text: Float32[np.ndarray, "classes dim"],
        text_source: str,
        fingerprint: str,
        about: dict[str, Any],
        max_bytes: int = DEFAULT_MEMORY,
    ) -> None:
        self.summaries, self.names = tuple(summaries), tuple(summary.name for summary in summaries)
        self.vocabulary, self.text, self.text_source = vocabulary, text, text_source
        self.fingerprint, self.about, self.max_bytes = fingerprint, about, max_bytes
        self._load = load
        self._kept: OrderedDict[int, tuple[TrainingScan, int]] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def in_memory(
        scans: Sequence[TrainingScan],
        vocabulary: Vocabulary,
        text: Float32[np.ndarray, "classes dim"],
        text_source: str = "given",
    ) -> "ScanSet":
        """Scans that were made by other means."""
        digest = hashlib.sha256()
        for scan in scans:
            digest.update(scan.name.encode())
            digest.update(scan.points_in_scan.tobytes())
            for view in scan.views:
                digest.update(view.labels.class_ids.tobytes())
        summaries = [_plain_summary(scan) for scan in scans]
        return ScanSet(summaries, lambda index: scans[index], vocabulary, text, text_source, digest.hexdigest(), {})

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> TrainingScan: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[TrainingScan]: ...

    def __getitem__(self, index: int | slice) -> TrainingScan | Sequence[TrainingScan]:
        """A scan; a slice reads them all at once."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        if position in self._kept:
            self._kept.move_to_end(position)
            return self._kept[position][0]
        scan = self._load(position)
        size = scan_bytes(scan)
        self._kept[position] = scan, size
        self._bytes += size
        while self._bytes > self.max_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return scan

    @property
    def frames_without_answer(self) -> int:
        """Views of all scans that the teacher has nothing for."""
        return sum(len(summary.without_answer) for summary in self.summaries)

    def report(self) -> dict[str, Any]:
        """What a run writes beside its results: JSON values."""
        points = sum(summary.points for summary in self.summaries)
        return {
            **self.about,
            "fingerprint": self.fingerprint,
            "text_from": self.text_source,
            "scans": len(self),
            "points": points,
            "pairs": sum(summary.pairs for summary in self.summaries),
            "views": sum(summary.views for summary in self.summaries),
            "frames_without_answer": self.frames_without_answer,
            "points_labelled": sum(summary.points_labelled * summary.points for summary in self.summaries) / max(1, points),
            "segments": sum(summary.segments for summary in self.summaries),
            "segment_sources": sorted({summary.segment_source for summary in self.summaries}),
            "inputs": sorted({summary.inputs for summary in self.summaries}),
        }


def scan_bytes(scan: TrainingScan) -> int:
    """Memory a scan's arrays take."""
    arrays: list[np.ndarray | None] = [scan.points_in_scan, scan.inputs, scan.segments]
    arrays += [getattr(scan.pixels, name) for name in _PIXEL_COLUMNS]
    for view in scan.views:
        arrays += [view.labels.class_ids, view.labels.confidence, view.image_u8, view.regions, view.targets]
    return sum(array.nbytes for array in arrays if array is not None)


# ------------------------------------------------------------------------------------------------------------------ reading


class _Tensors:
    """Tensors of an open file, checked for type and number of axes before they are read."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file, self.names = path, file, set(file.keys())

    def __call__(self, name: str, kinds: Sequence[str], axes: int) -> np.ndarray:
        if name not in self.names:
            raise DataFormatError(self.path, name, expected="this tensor", got="none", fix="delete the file; it is made anew")
        part = self.file.get_slice(name)
        if part.get_dtype() not in kinds or len(part.get_shape()) != axes:
            raise DataFormatError(
                self.path, name, expected=f"{' or '.join(kinds)} on {axes} axes", got=f"{part.get_dtype()} {part.get_shape()}"
            )
        values: np.ndarray = self.file.get_tensor(name)
        return values

    def optional(self, name: str, kinds: Sequence[str], axes: int) -> np.ndarray | None:
        return self(name, kinds, axes) if name in self.names else None


def _scan(path: Path, about: dict[str, Any], tensors: _Tensors) -> TrainingScan:
    points, inputs = tensors("points", ("F32",), 2), tensors("inputs", ("F32",), 2)
    views = []
    for index, name in enumerate(about["views"]):
        regions = tensors.optional(f"regions.{index}", _WHOLE, 2)
        view = ScanView(
            name=name,
            labels=LabelField(
                tensors(f"labels.{index}", _WHOLE, 2).astype(np.int32),
                tensors(f"confidence.{index}", ("F16",), 2).astype(np.float32),
            ),
            image_u8=tensors.optional(f"image.{index}", ("U8",), 3),
            regions=None if regions is None else regions.astype(np.int32),
            targets=tensors.optional(f"targets.{index}", ("F16",), 3),
        )
        for what, values in (("image", view.image_u8), ("regions", view.regions)):
            if values is not None and values.shape[:2] != (view.height, view.width):
                raise DataFormatError(path, f"{what}.{index}", expected=f"{view.height}×{view.width}", got=values.shape)
        views.append(view)
    element, view_of, row, column = (tensors(f"pixels.{name}", _WHOLE, 1) for name in _PIXEL_COLUMNS)
    heights = np.array([view.height for view in views], dtype=np.int64)
    widths = np.array([view.width for view in views], dtype=np.int64)
    same = len(element) == len(view_of) == len(row) == len(column)
    if not same or not (
        _within(element, len(points))
        and _within(view_of, len(views))
        and (not len(row) or (min(row.min(), column.min()) >= 0 and bool((row < heights[view_of]).all())))
        and (not len(row) or bool((column < widths[view_of]).all()))
    ):
        raise DataFormatError(path, "pixels", expected="points and pixels that exist", got="others", fix="delete the file")
    return TrainingScan(
        name=about["name"],
        points_in_scan=points,
        inputs=inputs,
        segments=tensors("segments", _WHOLE, 1).astype(np.int32),
        views=tuple(views),
        pixels=Correspondence(
            element.astype(np.int64),
            view_of.astype(np.int32),
            row.astype(np.int32),
            column.astype(np.int32),
            len(points),
            len(views),
        ),
    )


def _within(values: np.ndarray, count: int) -> bool:
    return not len(values) or (int(values.min()) >= 0 and int(values.max()) < count)


def _about(path: Path, text: str | None) -> dict[str, Any]:
    try:
        about = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"metadata {_ABOUT}", expected="JSON", got=repr((text or "")[:80])) from error
    if not isinstance(about, dict) or about.get("version") != _VERSION:
        raise DataFormatError(path, f"metadata {_ABOUT}", expected=f"a scan of version {_VERSION}", got=repr(text or "")[:80])
    sound = isinstance(about.get("name"), str) and isinstance(about.get("fingerprint"), str)
    names = about.get("views")
    if not sound or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataFormatError(path, f"metadata {_ABOUT}", expected="name, fingerprint and views", got="others")
    return about


def _summary(path: Path, values: object) -> ScanSummary:
    try:
        if not isinstance(values, dict):
            raise TypeError(type(values).__name__)
        return ScanSummary(**{**values, "without_answer": tuple(values["without_answer"])})
    except (TypeError, KeyError) as error:
        raise DataFormatError(path, f"metadata {_ABOUT}.summary", expected="a summary", got=str(error)[:80]) from error


def _plain_summary(scan: TrainingScan) -> ScanSummary:
    channels = scan.inputs.shape[1]
    return ScanSummary(
        name=scan.name,
        points=len(scan),
        point_source="given",
        pairs=len(scan.pixels),
        views=len(scan.views),
        without_answer=(),
        points_labelled=labelled_share(scan),
        pixels_labelled=float(np.mean([view.labels.coverage for view in scan.views])) if scan.views else 0.0,
        segments=int(scan.segments.max(initial=-1)) + 1,
        segment_source="given",
        inputs="colour" if channels == 3 else "intensity",
    )


def _smallest(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for kind in (np.int8, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.int32)

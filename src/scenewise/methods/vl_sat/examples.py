"""Scans as they are trained on: points of one number, dense labels, pictures of each thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from scenewise.errors import ConventionError, ShapeError
from scenewise.io.json_values import fingerprint_of
from scenewise.scenes.graph_scans import GraphScan

_MEASURED = 24  # points of each thing that decide which things are near


@dataclass(frozen=True)
class GraphExample:
    """A scan, and what the teacher saw of its things.

    Attributes:
        scan: things, classes, relations.
        pictures: picture feature of each thing, the mean over its views; zeros where nothing was seen.  None without teacher.
    """

    scan: GraphScan
    pictures: Float32[np.ndarray, "objects dim"] | None = None

    def __post_init__(self) -> None:
        if self.pictures is not None and len(self.pictures) != len(self.scan):
            raise ShapeError("pictures", expected=f"{len(self.scan)} rows", got=len(self.pictures))

    @cached_property
    def seen(self) -> Bool[np.ndarray, "objects"]:
        """Things the teacher has seen."""
        if self.pictures is None:
            return np.zeros(len(self.scan), dtype=bool)
        return np.asarray((self.pictures != 0).any(axis=1))

    @cached_property
    def gaps(self) -> Float32[np.ndarray, "objects objects"]:
        """About the distance between two things' surfaces, metres."""
        from scipy.spatial import cKDTree

        few = [points[:: max(1, len(points) // _MEASURED)] for points in self.scan.points_in_world]
        trees = [cKDTree(points) for points in few]
        gaps = np.zeros((len(few), len(few)), dtype=np.float32)
        for a in range(len(few)):
            for b in range(a):
                gaps[a, b] = gaps[b, a] = float(trees[b].query(few[a])[0].min())
        return gaps

    def labels(self, predicates: int) -> UInt8[np.ndarray, "objects objects predicates"]:
        """Which predicates hold of every pair."""
        found = np.zeros((len(self.scan), len(self.scan), predicates), dtype=np.uint8)
        subject, thing, predicate = self.scan.triplets.T
        found[subject, thing, predicate] = 1
        return found


@final
class GraphData:
    """Scans of one data set.

    Args:
        examples: the scans.
        classes: names of things.
        predicates: names of relations.
        class_text: unit embedding of "a photo of a …" per class, in the space of the pictures; None without teacher.

    Raises:
        ConventionError: no scans, one without things, one alone without pictures, or a class or predicate that has no name.
        ShapeError: pictures or words of different lengths.
    """

    def __init__(
        self,
        examples: Sequence[GraphExample],
        classes: Sequence[str],
        predicates: Sequence[str],
        class_text: Float32[np.ndarray, "classes dim"] | None = None,
    ) -> None:
        if not examples:
            raise ConventionError("scans", expected="at least one", got="none")
        for example in examples:
            scan = example.scan
            if not len(scan):
                raise ConventionError(f"things of {scan.name}", expected="at least one", got="none", fix="leave the scan out")
            if int(scan.class_ids.max(initial=-1)) >= len(classes):
                raise ConventionError(f"classes of {scan.name}", expected=f"below {len(classes)}", got=int(scan.class_ids.max()))
            if int(scan.triplets[:, 2].max(initial=-1)) >= len(predicates):
                got = int(scan.triplets[:, 2].max())
                raise ConventionError(f"predicates of {scan.name}", expected=f"below {len(predicates)}", got=got)
        _require_one_space(examples, len(classes), class_text)
        self.examples, self.classes, self.predicates = tuple(examples), tuple(classes), tuple(predicates)
        self.class_text = class_text

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def picture_dim(self) -> int | None:
        """Channels of the picture features; None where no scan has any."""
        return next((each.pictures.shape[1] for each in self.examples if each.pictures is not None), None)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with anything that is learned from."""
        import hashlib

        digest = hashlib.sha256(fingerprint_of([self.classes, self.predicates]).encode())
        for example in self.examples:
            digest.update(example.scan.name.encode())
            for array in (*example.scan.points_in_world, example.scan.class_ids, example.scan.triplets, example.pictures):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).tobytes())
        if self.class_text is not None:
            digest.update(np.ascontiguousarray(self.class_text).tobytes())
        return digest.hexdigest()

    @cached_property
    def triplets(self) -> Int64[np.ndarray, "triplets 3"]:
        """Every (subject class, predicate, object class) that occurs, sorted; each also with predicate −1 for "no relation"."""
        found = set()
        for example in self.examples:
            classes = example.scan.class_ids
            known = [int(kind) for kind in np.unique(classes) if kind >= 0]
            found |= {(a, -1, b) for a in known for b in known}
            for subject, thing, predicate in example.scan.triplets.tolist():
                if classes[subject] >= 0 and classes[thing] >= 0:
                    found.add((int(classes[subject]), predicate, int(classes[thing])))
        return np.array(sorted(found), dtype=np.int64).reshape(-1, 3)


def _require_one_space(examples: Sequence[GraphExample], classes: int, class_text: Float32[np.ndarray, "_ dim"] | None) -> None:
    """Pictures of all scans or of none, as long as one another and as the words."""
    dims = {None if each.pictures is None else each.pictures.shape[1] for each in examples}
    if len(dims) > 1 and None in dims:
        fix = "give rows of zeros where nothing was seen"
        raise ConventionError("pictures", expected="those of all scans, or of none", got="some", fix=fix)
    dim = next(iter(dims))
    if len(dims) > 1:
        raise ShapeError("pictures", expected=f"{dim} channels in every scan", got=f"{sorted(map(str, dims))}")
    if class_text is not None and (len(class_text) != classes or (dim is not None and class_text.shape[1] != dim)):
        wanted = f"({classes}, {'any' if dim is None else dim})"
        raise ShapeError("class_text", expected=wanted, got=f"{class_text.shape}")

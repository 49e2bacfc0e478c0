"""The official splits of ScanNet v2: 1201 scans to train on, 312 to validate, 100 for the hidden test."""

from functools import cache
from pathlib import Path
from typing import Literal

from scenewise.io.json_fields import read_json_object

Split = Literal["train", "val", "test"]

SPLIT_SIZES: dict[Split, int] = {"train": 1201, "val": 312, "test": 100}
"""Scans in each split.  Source: Dai et al. 2017, "ScanNet", arXiv 1702.04405, the benchmark's second version."""


@cache
def official_scans(split: Split) -> tuple[str, ...]:
    """Names of a split's scans in ascending order, such as ``scene0000_00``; scans of one place are in one split."""
    fields = read_json_object(Path(__file__).with_name("scannet_splits.json"))
    names: list[str] = []
    for line in fields.texts(split):
        for place in line.split():
            number, _, scans = place.partition(":")
            names += [f"scene{number}_{scan:02d}" for scan in range(int(scans))]
    return tuple(names)

"""One folder, one data set of objects."""

from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.classification.cloud_files import ClassificationSplit
from scenewise.io.classification.modelnet import (
    RESAMPLED_POINTS,
    is_modelnet_meshes,
    is_modelnet_texts,
    read_modelnet_meshes,
    read_modelnet_texts,
)
from scenewise.io.classification.scan_object_nn import find_scan_object_nn, read_scan_object_nn
from scenewise.scenes.classified_clouds import ClassifiedClouds


def open_classification(
    path: str | Path,
    split: ClassificationSplit,
    *,
    variant: str | None = None,
    points: int = RESAMPLED_POINTS,
    seed: int = 0,
) -> ClassifiedClouds:
    """The objects of a split, told apart by the files; none is read yet.

    Args:
        path: ``modelnet40_normal_resampled``, ``ModelNet40`` (or 10) with meshes, or a folder of ScanObjectNN.
        split: "train" or "test".
        variant: of ScanObjectNN (:func:`~scenewise.io.classification.scan_object_nn.read_scan_object_nn`).
        points: sampled on each mesh.
        seed: of that.

    Raises:
        DataFormatError: none of these, or incomplete.
        MissingDependencyError: h5py (ScanObjectNN) is not installed.
    """
    path = Path(path)
    if is_modelnet_texts(path):
        return read_modelnet_texts(path, split)
    if is_modelnet_texts(path, 10):
        return read_modelnet_texts(path, split, classes=10)
    if find_scan_object_nn(path) is not None:
        return read_scan_object_nn(path, split, variant=variant)
    if is_modelnet_meshes(path):
        return read_modelnet_meshes(path, split, points=points, seed=seed)
    raise DataFormatError(
        path,
        expected="ModelNet (modelnet40_shape_names.txt, or <class>/train/*.off) or ScanObjectNN (training_objectdataset….h5)",
        got="none of them" if path.is_dir() else "no such folder",
        fix="name the folder that holds them, unpacked",
    )

"""The eight 2D benchmarks of open-vocabulary segmentation, in the folders MMSegmentation's preparation leaves them in.

``open_segmentation_dataset(name, root)`` gives the images, their labels in our codes (−1 = ignore) and the words of the classes;
``SEGMENTATION_DATASETS[name]`` holds the settings under which figures are published.
"""

from scenewise.io.segmentation_datasets.labelled_images import LabelledImages
from scenewise.io.segmentation_datasets.presets import (
    SEGMENTATION_DATASETS,
    PublishedFigure,
    SegmentationDataset,
    open_segmentation_dataset,
)

__all__ = [
    "SEGMENTATION_DATASETS",
    "LabelledImages",
    "PublishedFigure",
    "SegmentationDataset",
    "open_segmentation_dataset",
]

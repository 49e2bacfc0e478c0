"""Images with a class per pixel, decoded when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.images import read_class_codes, read_image, read_image_header
from scenewise.io.segmentation_datasets.label_codes import LabelCodes
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary


@dataclass(frozen=True)
class LabelledFile:
    """An image and its labels on disk.

    Attributes:
        image: the picture.
        labels: its label map.
        codes: meaning of the numbers in the label map.
    """

    image: Path
    labels: Path
    codes: LabelCodes


@dataclass(frozen=True)
class LabelledImages:
    """Some images of a data set with their labels.  Nothing is decoded until it is asked for, and nothing is kept.

    Attributes:
        dataset: name of the data set.
        root: the folder they are in.
        files: image and label file by name, in the order of evaluation.
        vocabulary: the classes; position = class id.
    """

    dataset: str
    root: Path
    files: Mapping[str, LabelledFile]
    vocabulary: Vocabulary

    def __post_init__(self) -> None:
        if not self.files:
            raise ConventionError("labelled images", expected="at least one", got="none")

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the images, each once."""
        return tuple(self.files)

    def first(self, count: int) -> "LabelledImages":
        """The first ``count`` images, or all where there are fewer."""
        return replace(self, files=dict(list(self.files.items())[:count]))

    def load_image(self, name: str) -> ImageU8:
        """The pixels of an image.

        Raises:
            DataFormatError: missing, truncated or not an image.
        """
        return read_image(self.files[name].image)

    def load_labels(self, name: str) -> Int64[np.ndarray, "height width"]:
        """Class id of each pixel of an image, −1 = does not count.

        Raises:
            DataFormatError: missing, truncated, not a label map, of another size than the image, or with codes that mean nothing.
        """
        file = self.files[name]
        codes = read_class_codes(file.labels)
        header = read_image_header(file.image)
        if codes.shape != (header.height, header.width):
            raise DataFormatError(
                file.labels,
                "image size",
                expected=f"{header.width}×{header.height} like {file.image.name}",
                got=f"{codes.shape[1]}×{codes.shape[0]}",
                fix="use labels and images of the same release, none of them resized",
            )
        return file.codes.classes(codes, file.labels)

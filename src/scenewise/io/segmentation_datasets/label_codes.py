"""Codes in label files and the classes they mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt16

from scenewise.errors import DataFormatError

_IGNORE = -1
_NO_CODE = -2
_UNLABELLED = 255


@dataclass(frozen=True)
class LabelCodes:
    """What the numbers in a label file mean.

    Attributes:
        description: for messages: which numbers a file has.
        class_of_code: class id per code; −1 = ignore.  Other codes are errors.
    """

    description: str
    class_of_code: Mapping[int, int]

    def classes(self, codes: UInt16[np.ndarray, "height width"], path: Path) -> Int64[np.ndarray, "height width"]:
        """Class ids of the codes in a file, −1 = ignore.

        Raises:
            DataFormatError: a code without a meaning; ``path`` is for the message.
        """
        highest = int(codes.max(initial=0))
        table = np.full(max(highest, *self.class_of_code) + 1, _NO_CODE, dtype=np.int64)
        table[list(self.class_of_code)] = list(self.class_of_code.values())
        classes = table[codes]
        wrong = classes == _NO_CODE
        if wrong.any():
            found = np.unique(codes[wrong])
            raise DataFormatError(
                path,
                "codes",
                expected=self.description,
                got=", ".join(str(code) for code in found[:5]) + ("" if len(found) <= 5 else f" and {len(found) - 5} more"),
                fix="use the label files of this data set as its preparation wrote them",
            )
        return classes


def class_ids(classes: int) -> LabelCodes:
    """Files that hold class ids from 0, and 255 = ignore."""
    return LabelCodes(
        f"class ids from 0 to {classes - 1}, and 255 for unlabelled pixels",
        {index: index for index in range(classes)} | {_UNLABELLED: _IGNORE},
    )


def class_ids_from_one(classes: int) -> LabelCodes:
    """Files whose 0 is no class ("reduce zero label"): 1 is class 0; 0 and 255 = ignore."""
    return LabelCodes(
        f"class ids from 1 to {classes}, 0 for what is no class, and 255 for unlabelled pixels",
        {0: _IGNORE} | {index + 1: index for index in range(classes)} | {_UNLABELLED: _IGNORE},
    )


# Cityscapes' label ids of the 19 evaluated classes, in their order; the other ids up to 33 (and licence plates, −1 in the
# authors' table, 255 in files) do not count.  Source: the data set's published label table.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_LABEL_IDS = LabelCodes(
    "Cityscapes label ids from 0 to 33",
    dict.fromkeys((*range(34), _UNLABELLED), _IGNORE) | {code: index for index, code in enumerate(_CITYSCAPES_IDS)},
)

# COCO's category ids less one, as the pixel maps of COCO-Stuff store them: things up to 89, stuff from 91.  These eleven
# categories were planned and never annotated.
_COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
_COCO_CODES = tuple(code for code in range(182) if code not in _COCO_GAPS)
COCO_STUFF_PIXEL_MAPS = LabelCodes(
    "COCO category ids less one, and 255 for unlabelled pixels",
    {code: index for index, code in enumerate(_COCO_CODES)} | {_UNLABELLED: _IGNORE},
)
# In COCO-Object all stuff and what is not labelled is background.
COCO_OBJECT_PIXEL_MAPS = LabelCodes(
    "COCO category ids less one, and 255 for unlabelled pixels",
    {code: index + 1 if code < 90 else 0 for index, code in enumerate(_COCO_CODES)} | {_UNLABELLED: 0},
)

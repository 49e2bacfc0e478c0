"""Two tiny images of each segmentation data set, in its folders and codes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 6, 8

# What the two label maps say, as class ids (−1 = does not count): a left part, a right part and an ignored lower strip.  Chosen
# per data set so that every class number lies off the diagonal of some code table.
LEFT_RIGHT: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "voc21": ((0, 15), (4, 20)),
    "voc20": ((0, 14), (3, 19)),
    "context60": ((0, 37), (8, 59)),
    "context59": ((0, 36), (7, 58)),
    "coco_object": ((0, 1), (12, 80)),
    "coco_stuff": ((0, 11), (80, 170)),
    "cityscapes": ((0, 11), (6, 18)),
    "ade20k": ((0, 12), (39, 149)),
}


def truth(name: str, index: int) -> np.ndarray:
    """Class ids of image ``index``: the right part is narrower than the left one, the last row does not count."""
    left, right = LEFT_RIGHT[name][index]
    labels = np.full((HEIGHT, WIDTH), left, dtype=np.int64)
    labels[:, 5 + index :] = right
    labels[-1] = -1
    return labels


def _from_one(labels: np.ndarray) -> np.ndarray:
    return np.where(labels < 0, 0, labels + 1)


def _with_255(labels: np.ndarray) -> np.ndarray:
    return np.where(labels < 0, 255, labels)


@dataclass(frozen=True)
class _Files:
    image: str
    labels: str
    codes: Callable[[np.ndarray], np.ndarray] = _with_255
    palette: bool = False
    split: str | None = None
    names: tuple[str, str] = ("2007_000033", "2009_000012")


_VOC = {"split": "ImageSets/Segmentation/val.txt", "palette": True}
_CONTEXT = {"split": "ImageSets/SegmentationContext/val.txt"}
_CITIES = ("frankfurt/frankfurt_000000_000294", "munster/munster_000001_000019")
_COCO = ("000000000139", "000000000285")
_FILES = {
    "voc21": _Files("JPEGImages/{}.jpg", "SegmentationClass/{}.png", **_VOC),
    "voc20": _Files("JPEGImages/{}.jpg", "SegmentationClass/{}.png", _from_one, **_VOC),
    "context60": _Files("JPEGImages/{}.jpg", "SegmentationClassContext/{}.png", **_CONTEXT),
    "context59": _Files("JPEGImages/{}.jpg", "SegmentationClassContext/{}.png", _from_one, **_CONTEXT),
    "coco_object": _Files("images/val2017/{}.jpg", "annotations/val2017/{}_instanceTrainIds.png", names=_COCO),
    "coco_stuff": _Files("images/val2017/{}.jpg", "annotations/val2017/{}_labelTrainIds.png", names=_COCO),
    "cityscapes": _Files("leftImg8bit/val/{}_leftImg8bit.png", "gtFine/val/{}_gtFine_labelTrainIds.png", names=_CITIES),
    "ade20k": _Files(
        "images/validation/{}.jpg",
        "annotations/validation/{}.png",
        _from_one,
        names=("ADE_val_00000001", "ADE_val_00000002"),
    ),
}


def names_of(name: str) -> tuple[str, str]:
    return _FILES[name].names


def label_path(name: str, root: Path, index: int) -> Path:
    return root / _FILES[name].labels.format(_FILES[name].names[index])


def image_path(name: str, root: Path, index: int) -> Path:
    return root / _FILES[name].image.format(_FILES[name].names[index])


def fabricate(name: str, root: Path) -> Path:
    """Writes the two images; the colour of the first pixel tells them apart (40 or 200)."""
    files = _FILES[name]
    for index in range(2):
        pixels = np.full((HEIGHT, WIDTH, 3), 40 + 160 * index, dtype=np.uint8)
        path = image_path(name, root, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)
        write_codes(label_path(name, root, index), files.codes(truth(name, index)), palette=files.palette)
    if files.split is not None:
        (root / files.split).parent.mkdir(parents=True, exist_ok=True)
        (root / files.split).write_text("\n".join(files.names) + "\n", encoding="utf-8")
    return root


def write_codes(path: Path, codes: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(codes.astype(np.uint8))
    if palette:
        # Colours whose brightness is not the index: a reader that converts to grey gets other numbers.
        picture = picture.convert("L")
        picture.putpalette([value for index in range(256) for value in (255 - index, index, 77)])
        assert picture.mode == "P"
    picture.save(path)

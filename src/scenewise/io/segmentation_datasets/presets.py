"""The eight data sets: folders, codes, words, and the settings under which SC-CLIP's figures are published.

Splits, codes and folders are those of MMSegmentation's data preparation; thresholds, logit scales and window sizes those of
SC-CLIP's released configuration (Bai et al. 2024, arXiv 2411.15869); the words, with 26 kinds of stuff for "background" and
clothed variants of "person", those of SCLIP's release (Wang et al. 2023, arXiv 2312.01597), which it builds on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewise.errors import ConventionError
from scenewise.io.segmentation_datasets.label_codes import (
    CITYSCAPES_LABEL_IDS,
    COCO_OBJECT_PIXEL_MAPS,
    COCO_STUFF_PIXEL_MAPS,
    class_ids,
    class_ids_from_one,
)
from scenewise.io.segmentation_datasets.labelled_images import LabelledImages
from scenewise.io.segmentation_datasets.layouts import LabelFiles, Layout
from scenewise.io.vocabularies import read_vocabulary
from scenewise.scenes.vocabularies import Vocabulary

_CLASSES = Path(__file__).parent / "classes"


@dataclass(frozen=True)
class PublishedFigure:
    """What others report on a data set, for orientation beside our own figure.

    Attributes:
        method: and variant.
        backbone: image encoder.
        miou: share of 1.
        source: publication or repository.
        checked: whether the figure was read at its source; where not, it is from memory of the paper and may be off.
    """

    method: str
    backbone: str
    miou: float
    source: str
    checked: bool


@dataclass(frozen=True)
class SegmentationDataset:
    """How a data set is read and scored.

    Attributes:
        name: as given on the command line; also the name of the file with its words.
        title: for people.
        layout: where its files are.
        background: class id that weak pixels fall back to; None where every pixel has a real class.
        logit_scale: factor before the softmax over all words, tuned for CLIP.
        probability_threshold: a pixel whose best class is less probable becomes background.
        area_threshold: classes with less than this share of the foreground of an image are dropped; None keeps all.
        short_side: images are resized to this for the teacher, pixels.
        long_side: at most this, pixels.
        crop: side of the sliding window, pixels.
        stride: between windows, pixels.
        published: figures of others.
    """

    name: str
    title: str
    layout: Layout
    background: int | None = None
    logit_scale: float = 40.0
    probability_threshold: float = 0.0
    area_threshold: float | None = None
    short_side: int = 336
    long_side: int = 2048
    crop: int = 224
    stride: int = 112
    published: tuple[PublishedFigure, ...] = ()

    def vocabulary(self) -> Vocabulary:
        """Classes and the words that stand for them; its one template is a stand-in for the teacher's own."""
        return read_vocabulary(_CLASSES / f"{self.name}.json")[0]

    def open(self, root: Path) -> LabelledImages:
        """The validation images and labels in a folder.

        Raises:
            DataFormatError: folders or files are missing.
        """
        return LabelledImages(self.name, root, self.layout.find(root), self.vocabulary())

    def settings(self) -> dict[str, Any]:
        """What decides the labels of a pixel, as JSON values."""
        return {
            "logit_scale": self.logit_scale,
            "probability_threshold": self.probability_threshold,
            "area_threshold": self.area_threshold,
            "background": self.background,
            "short_side": self.short_side,
            "long_side": self.long_side,
            "crop": self.crop,
            "stride": self.stride,
        }


@dataclass(frozen=True)
class _Reported:
    """Published figures of one method, mIoU in per cent by data set."""

    method: str
    backbone: str
    source: str
    miou: Mapping[str, float]
    checked: bool = True


_ORDER = ("voc21", "context60", "coco_object", "voc20", "cityscapes", "context59", "ade20k", "coco_stuff")
_SC_CLIP = "Bai et al. 2024, arXiv 2411.15869"
_REPORTED = (
    _Reported(
        "SCLIP",
        "CLIP ViT-B/16",
        "README of its repository",
        dict(zip(_ORDER, (59.63, 31.74, 33.52, 81.54, 32.34, 34.46, 16.45, 22.77))),
    ),
    _Reported(
        "NACLIP with PAMR",
        "CLIP ViT-B/16",
        "its repository",
        dict(zip(_ORDER, (64.07, 34.99, 36.19, 83.03, 38.27, 38.35, 19.05, 25.69))),
    ),
    _Reported(
        "SC-CLIP",
        "CLIP ViT-B/16",
        _SC_CLIP,
        dict(zip(_ORDER, (64.6, 36.8, 37.7, 84.3, 41.0, 40.1, 20.1, 26.6))),
        checked=False,
    ),
    _Reported("SC-CLIP", "CLIP ViT-L/14", _SC_CLIP, {"cityscapes": 41.3, "ade20k": 21.7, "coco_stuff": 26.9}),
)


def _published(name: str) -> tuple[PublishedFigure, ...]:
    return tuple(
        PublishedFigure(
            reported.method, reported.backbone, round(reported.miou[name] / 100.0, 4), reported.source, reported.checked
        )
        for reported in _REPORTED
        if name in reported.miou
    )


def _voc(label_files: LabelFiles) -> Layout:
    return Layout(
        images="JPEGImages",
        image_ending=".jpg",
        labels="SegmentationClass",
        label_files=(label_files,),
        homes=("VOC2012", "VOCdevkit/VOC2012"),
        source="unpack PASCAL VOC's VOCtrainval_11-May-2012.tar and name the folder VOCdevkit/VOC2012",
        split="ImageSets/Segmentation/val.txt",
    )


def _context(label_files: LabelFiles) -> Layout:
    return Layout(
        images="JPEGImages",
        image_ending=".jpg",
        labels="SegmentationClassContext",
        label_files=(label_files,),
        homes=("VOC2010", "VOCdevkit/VOC2010"),
        source=(
            "unpack PASCAL VOC's VOCtrainval_03-May-2010.tar, let MMSegmentation's pascal_context converter write the label maps "
            "and the list from PASCAL-Context's trainval_merged.json, and name the folder VOCdevkit/VOC2010"
        ),
        split="ImageSets/SegmentationContext/val.txt",
    )


def _coco(*label_files: LabelFiles, homes: tuple[str, ...]) -> Layout:
    return Layout(
        images="images/val2017",
        image_ending=".jpg",
        labels="annotations/val2017",
        label_files=label_files,
        homes=homes,
        source="unpack COCO's val2017.zip into images/ and COCO-Stuff's stuffthingmaps_trainval2017.zip into annotations/",
    )


SEGMENTATION_DATASETS: dict[str, SegmentationDataset] = {
    dataset.name: dataset
    for dataset in (
        SegmentationDataset(
            name="voc21",
            title="PASCAL VOC 2012, 20 classes and background",
            layout=_voc(LabelFiles(".png", class_ids(21))),
            background=0,
            logit_scale=50.0,
            probability_threshold=0.15,
            area_threshold=0.1,
            published=_published("voc21"),
        ),
        SegmentationDataset(
            name="voc20",
            title="PASCAL VOC 2012, 20 classes, background ignored",
            layout=_voc(LabelFiles(".png", class_ids_from_one(20))),
            published=_published("voc20"),
        ),
        SegmentationDataset(
            name="context60",
            title="PASCAL Context, 59 classes and background",
            layout=_context(LabelFiles(".png", class_ids(60))),
            background=0,
            probability_threshold=0.15,
            published=_published("context60"),
        ),
        SegmentationDataset(
            name="context59",
            title="PASCAL Context, 59 classes, background ignored",
            layout=_context(LabelFiles(".png", class_ids_from_one(59))),
            published=_published("context59"),
        ),
        SegmentationDataset(
            name="coco_object",
            title="COCO-Object, 80 things and background",
            layout=_coco(
                LabelFiles("_instanceTrainIds.png", class_ids(81)),
                LabelFiles(".png", COCO_OBJECT_PIXEL_MAPS),
                homes=("coco_object", "coco_stuff164k"),
            ),
            background=0,
            logit_scale=55.0,
            probability_threshold=0.35,
            published=_published("coco_object"),
        ),
        SegmentationDataset(
            name="coco_stuff",
            title="COCO-Stuff 164k, 80 things and 91 stuffs",
            layout=_coco(
                LabelFiles("_labelTrainIds.png", class_ids(171)),
                LabelFiles(".png", COCO_STUFF_PIXEL_MAPS),
                homes=("coco_stuff164k",),
            ),
            published=_published("coco_stuff"),
        ),
        SegmentationDataset(
            name="cityscapes",
            title="Cityscapes, 19 classes",
            layout=Layout(
                images="leftImg8bit/val",
                image_ending="_leftImg8bit.png",
                labels="gtFine/val",
                label_files=(
                    LabelFiles("_gtFine_labelTrainIds.png", class_ids(19)),
                    LabelFiles("_gtFine_labelIds.png", CITYSCAPES_LABEL_IDS),
                ),
                homes=("cityscapes",),
                source="unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of Cityscapes into one folder",
            ),
            short_side=560,
            published=_published("cityscapes"),
        ),
        SegmentationDataset(
            name="ade20k",
            title="ADE20K, 150 classes",
            layout=Layout(
                images="images/validation",
                image_ending=".jpg",
                labels="annotations/validation",
                label_files=(LabelFiles(".png", class_ids_from_one(150)),),
                homes=("ADEChallengeData2016", "ade/ADEChallengeData2016"),
                source="unpack ADEChallengeData2016.zip (the scene parsing challenge, not the full ADE20K) and name its folder",
            ),
            published=_published("ade20k"),
        ),
    )
}
"""Data sets by name."""


def open_segmentation_dataset(name: str, root: Path) -> LabelledImages:
    """The validation images of a data set.

    Args:
        name: one of ``SEGMENTATION_DATASETS``.
        root: its folder.

    Raises:
        ConventionError: there is no such data set.
        DataFormatError: folders or files are missing.
    """
    if name not in SEGMENTATION_DATASETS:
        raise ConventionError("data set", expected=f"one of {', '.join(SEGMENTATION_DATASETS)}", got=repr(name))
    return SEGMENTATION_DATASETS[name].open(root)

"""The eight data sets read from fabricated folders: codes, lists, words, messages."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_segmentation import fabricate, image_path, label_path, names_of, truth, write_codes

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.segmentation_datasets import SEGMENTATION_DATASETS, open_segmentation_dataset

ALL = list(SEGMENTATION_DATASETS)
CLASSES = {
    "voc21": 21,
    "voc20": 20,
    "context60": 60,
    "context59": 59,
    "coco_object": 81,
    "coco_stuff": 171,
    "cityscapes": 19,
    "ade20k": 150,
}


@pytest.mark.parametrize("name", ALL)
def test_images_and_labels_of_every_data_set(name: str, tmp_path: Path):
    images = open_segmentation_dataset(name, fabricate(name, tmp_path))
    assert images.names == names_of(name) and len(images.vocabulary) == CLASSES[name]
    for index, image_name in enumerate(images.names):
        np.testing.assert_array_equal(images.load_labels(image_name), truth(name, index))
        assert images.load_labels(image_name).dtype == np.int64
        picture = images.load_image(image_name)
        assert picture.shape == (6, 8, 3) and abs(int(picture[0, 0, 0]) - (40 + 160 * index)) < 3
    assert images.first(1).names == images.names[:1] and images.first(9).names == images.names


@pytest.mark.parametrize(
    ("name", "home"), [("voc21", "VOCdevkit/VOC2012"), ("ade20k", "ADEChallengeData2016"), ("cityscapes", "cityscapes")]
)
def test_the_folder_above_may_be_named_too(name: str, home: str, tmp_path: Path):
    fabricate(name, tmp_path / home)
    assert open_segmentation_dataset(name, tmp_path).names == names_of(name)


@pytest.mark.parametrize("name", ALL)
def test_settings_and_words_are_the_published_ones(name: str):
    dataset = SEGMENTATION_DATASETS[name]
    vocabulary = dataset.vocabulary()
    assert vocabulary.templates == ("a photo of a {}.",) and len(vocabulary) == CLASSES[name]
    assert dataset.logit_scale == {"voc21": 50, "coco_object": 55}.get(name, 40)
    assert dataset.probability_threshold == {"voc21": 0.15, "context60": 0.15, "coco_object": 0.35}.get(name, 0)
    assert dataset.area_threshold == {"voc21": 0.1}.get(name)
    assert dataset.short_side == {"cityscapes": 560}.get(name, 336)
    assert (dataset.background is not None) == (vocabulary.names[0] == "background")
    assert {figure.method for figure in dataset.published} >= {"SCLIP", "NACLIP with PAMR", "SC-CLIP"}


def test_words_that_stand_for_background_and_person():
    words = SEGMENTATION_DATASETS["voc21"].vocabulary()
    assert len(words.phrases[0]) == 26 and words.phrases[0][-1] == "fence"
    person = words.phrases[words.names.index("person")]
    assert len(person) == 7 and person[0] == "person" and person[-1] == "person in jacket"
    assert words.phrases[words.names.index("tvmonitor")] == (
        "television monitor",
        "tv monitor",
        "monitor",
        "television",
        "screen",
    )
    things = SEGMENTATION_DATASETS["coco_object"].vocabulary()
    assert things.names[1] == "person" and len(things.phrases[1]) == 8 and len(things.phrases[0]) == 26


def test_known_positions_of_the_class_lists():
    position = {name: SEGMENTATION_DATASETS[name].vocabulary().names for name in ALL}
    assert position["coco_stuff"][79:81] == ("toothbrush", "banner") and position["coco_stuff"][170] == "wood"
    assert position["coco_stuff"][11] == "stop sign" and position["coco_object"][12] == "stop sign"
    assert position["ade20k"][12] == "person" and position["ade20k"][149] == "flag"
    assert position["cityscapes"][11] == "person" and position["cityscapes"][18] == "bicycle"
    assert position["context60"][37] == "person" and position["context59"][36] == "person"
    assert position["voc21"][15] == "person" and position["voc20"][14] == "person"


def test_labels_as_downloaded_are_read_where_the_converted_ones_are_missing(tmp_path: Path):
    # Cityscapes label ids: 7 road → 0, 24 person → 11, 4 static and 0 unlabelled → ignore, 33 bicycle → 18.
    fabricate("cityscapes", tmp_path / "city")
    for index in range(2):
        converted = label_path("cityscapes", tmp_path / "city", index)
        converted.unlink()
        codes = np.tile(np.array([[7, 24, 4, 33, 0, 255, 11, 13]]), (6, 1))
        write_codes(converted.with_name(converted.name.replace("labelTrainIds", "labelIds")), codes)
    images = open_segmentation_dataset("cityscapes", tmp_path / "city")
    assert images.load_labels(images.names[0])[0].tolist() == [0, 11, -1, 18, -1, -1, 2, 4]
    # COCO category ids less one: 12 stop sign, 91 banner (the first stuff), 181 wood, 89 toothbrush, 255 not labelled.
    expected = {
        "coco_stuff": [11, 80, 170, 79, -1, 0, 10, 24],
        "coco_object": [12, 0, 0, 80, 0, 1, 11, 25],
    }
    for name, classes in expected.items():
        root = fabricate(name, tmp_path / name)
        for index in range(2):
            label_path(name, root, index).unlink()
            codes = np.tile(np.array([[12, 91, 181, 89, 255, 0, 10, 26]]), (6, 1))
            write_codes(root / "annotations/val2017" / f"{names_of(name)[index]}.png", codes)
        images = open_segmentation_dataset(name, root)
        assert images.load_labels(images.names[1])[0].tolist() == classes


@pytest.mark.parametrize("name", ALL)
def test_a_missing_root_says_what_is_expected_and_where_it_comes_from(name: str, tmp_path: Path):
    with pytest.raises(DataFormatError, match=r"expected a folder with .*NAME.*got nothing\. Fix: unpack"):
        open_segmentation_dataset(name, tmp_path / "absent")
    with pytest.raises(DataFormatError, match=r"expected a folder; .* should hold .*Fix: unpack"):
        open_segmentation_dataset(name, tmp_path)


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path):
    root = fabricate("voc21", tmp_path)
    label_path("voc21", root, 0).unlink()
    image_path("voc21", root, 1).unlink()
    with pytest.raises(DataFormatError, match=r"2007_000033\.png: expected the file of each of the 2 images, got 2 missing"):
        open_segmentation_dataset("voc21", root)
    (root / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataFormatError, match=r"val\.txt: expected the list of names"):
        open_segmentation_dataset("voc21", root)


@pytest.mark.parametrize("line", ["../../secret", "/etc/passwd", "2007_000033", "a\\b"])
def test_a_list_leads_nowhere_else(line: str, tmp_path: Path):
    root = fabricate("voc21", tmp_path)
    with (root / "ImageSets/Segmentation/val.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataFormatError, match="line 3: expected a name below the image folder, each once"):
        open_segmentation_dataset("voc21", root)


def test_an_empty_list_and_an_empty_folder(tmp_path: Path):
    root = fabricate("voc21", tmp_path / "voc")
    (root / "ImageSets/Segmentation/val.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataFormatError, match="at least one name, got none"):
        open_segmentation_dataset("voc21", root)
    root = tmp_path / "ade"
    (root / "images/validation").mkdir(parents=True)
    (root / "annotations/validation").mkdir(parents=True)
    with pytest.raises(DataFormatError, match=r"validation: expected files …\.jpg, got none"):
        open_segmentation_dataset("ade20k", root)


def test_codes_colours_and_sizes_that_do_not_fit(tmp_path: Path):
    root = fabricate("voc21", tmp_path)
    images, path = open_segmentation_dataset("voc21", root), label_path("voc21", root, 0)
    write_codes(path, np.full((6, 8), 21))
    with pytest.raises(DataFormatError, match=r"codes: expected class ids from 0 to 20, and 255 for unlabelled pixels, got 21\."):
        images.load_labels(images.names[0])
    Image.fromarray(np.zeros((6, 8, 3), dtype=np.uint8)).save(path)
    with pytest.raises(DataFormatError, match="pixel format: expected class codes: one grey channel or a palette, got RGB"):
        images.load_labels(images.names[0])
    write_codes(path, np.zeros((8, 6)))
    with pytest.raises(DataFormatError, match=r"image size: expected 8×6 like 2007_000033\.jpg, got 6×8"):
        images.load_labels(images.names[0])


def test_an_unknown_data_set_is_named_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ConventionError, match=r"expected one of voc21, .*ade20k, got 'voc'"):
        open_segmentation_dataset("voc", tmp_path)

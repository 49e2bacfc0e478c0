"""Prompts, vocabularies from words and files, colours, preprocessing."""

import numpy as np
import pytest

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.vocabularies import write_vocabulary
from scenewise.scenes.class_colors import class_colors, oklab_from_srgb
from scenewise.teachers.preprocessing import ResizeSettings, normalised_image
from scenewise.teachers.prompts import (
    IMAGENET_TEMPLATES,
    MASKCLIP_TEMPLATES,
    TEMPLATES,
    filled_prompts,
    vocabulary_from_file,
    vocabulary_from_words,
)


def test_published_lists():
    assert len(set(IMAGENET_TEMPLATES)) == 80
    assert len(set(MASKCLIP_TEMPLATES)) == 85
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)
    assert (IMAGENET_TEMPLATES[0], IMAGENET_TEMPLATES[44], IMAGENET_TEMPLATES[-1]) == (
        "a bad photo of a {}.",
        "a origami {}.",
        "a tattoo of the {}.",
    )
    assert filled_prompts("shower {curtain}", ("a {} in a scene",)) == ["a shower {curtain} in a scene"]


def test_words_and_synonyms():
    vocabulary = vocabulary_from_words(" wall,floor ,  couch | sofa|couch, arm  chair", ("a {}",))
    assert vocabulary.names == ("wall", "floor", "couch", "arm chair")
    assert vocabulary.phrases == (("wall",), ("floor",), ("couch", "sofa"), ("arm chair",))
    assert vocabulary.templates == ("a {}",)
    assert vocabulary.colors_u8 == class_colors(4)


def test_words_from_files(tmp_path):
    listed = tmp_path / "classes.txt"
    listed.write_text("\ufeff# rooms\nwall\n\ncouch | sofa\nperson, person in shirt\n", encoding="utf-8")
    vocabulary = vocabulary_from_file(listed)
    assert vocabulary.phrases == (("wall",), ("couch", "sofa"), ("person", "person in shirt"))
    write_vocabulary(tmp_path / "classes.json", vocabulary)
    assert vocabulary_from_file(tmp_path / "classes.json") == vocabulary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("  ", "names between commas, got nothing"),
        ("wall,,floor", "class 2 of 'wall,,floor': expected a word"),
        ("wall,|sofa", "class 2"),
        ("wall, floor, wall", "'wall' more than once"),
    ],
)
def test_words_that_cannot_be(words, message):
    with pytest.raises(ConventionError, match=message.replace("|", r"\|")):
        vocabulary_from_words(words)


def test_files_that_cannot_be(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "binary.txt").write_bytes(b"wall\n\xff\xfe")
    (tmp_path / "gap.txt").write_text("wall\nsofa||couch\n")
    for name, message in (
        ("empty.txt", "one class per line"),
        ("binary.txt", "byte 5"),
        ("gap.txt", "class 2 of 'gap.txt'"),
        ("none.txt", "got nothing"),
    ):
        with pytest.raises(DataFormatError, match=message):
            vocabulary_from_file(tmp_path / name)


def test_colours_differ_and_do_not_move():
    colors = class_colors(40)
    assert class_colors(15) == colors[:15]
    lab = oklab_from_srgb(np.array(colors, dtype=np.float64) / 255)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(40, 1)]
    assert distances.min() > 0.07
    assert len(class_colors(2000)) == 2000
    # sRGB red in OKLab, from the published worked table.
    assert np.allclose(oklab_from_srgb(np.array([1.0, 0.0, 0.0])), [0.6280, 0.2249, 0.1258], atol=1e-4)


def test_sizes():
    assert ResizeSettings().size(480, 640) == (336, 448)
    assert ResizeSettings().size(640, 480) == (448, 336)
    assert ResizeSettings().size(100, 1000) == (205, 2048)  # the long side decides
    assert ResizeSettings(short_side=None).size(480, 641) == (480, 641)
    assert ResizeSettings(short_side=None, long_side=320).size(480, 640) == (240, 320)


def test_normalised_pixels():
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[1, 2] = (255, 51, 0)
    shown = normalised_image(image, (2, 3), (0.5, 0.25, 0.1), (0.5, 0.5, 0.2))
    assert shown.shape == (3, 2, 3)
    assert np.allclose(shown[:, 1, 2], [(1.0 - 0.5) / 0.5, (0.2 - 0.25) / 0.5, -0.5], atol=1e-6)
    assert np.allclose(shown[:, 0, 0], [-1.0, -0.5, -0.5], atol=1e-6)


def test_resizing_is_pillows():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((15, 10), Image.Resampling.BICUBIC))
    shown = normalised_image(image, (10, 15), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert np.array_equal((shown.permute(1, 2, 0).numpy() * 255).round(), expected)


@pytest.mark.errors
def test_resize_settings_that_cannot_be():
    with pytest.raises(ConventionError, match="short side ≤ long side, got 300 and 200"):
        ResizeSettings(short_side=300, long_side=200)

"""The sentences that words are put into, and vocabularies from what a person typed or wrote into a file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.vocabularies import read_vocabulary
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.vocabularies import Vocabulary

# The prompts of CLIP's zero-shot evaluation on ImageNet, in the published order and wording ("a origami" included), because
# embeddings are averages over exactly these (Radford et al. 2021, arXiv 2103.00020, section 3.1.4).  "itap" = "I took a picture".
IMAGENET_TEMPLATES = (
    "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.",
    "the origami {}.", "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.",
    "a origami {}.", "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.",
    "a photo of the clean {}.", "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.",
    "a photo of a weird {}.", "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.",
    "a sketch of the {}.", "a embroidered {}.", "a pixelated photo of a {}.", "itap of the {}.",
    "a jpeg corrupted photo of the {}.", "a good photo of a {}.", "a plushie {}.", "a photo of the nice {}.",
    "a photo of the small {}.", "a photo of the weird {}.", "the cartoon {}.", "art of the {}.",
    "a drawing of the {}.", "a photo of the large {}.", "a black and white photo of a {}.", "the plushie {}.",
    "a dark photo of a {}.", "itap of a {}.", "graffiti of the {}.", "a toy {}.",
    "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.", "a tattoo of the {}.",
)  # fmt: skip

SCENE_TEMPLATES = (
    "there is a {} in the scene.", "there is the {} in the scene.", "this is a {} in the scene.",
    "this is the {} in the scene.", "this is one {} in the scene.",
)  # fmt: skip

MASKCLIP_TEMPLATES = IMAGENET_TEMPLATES + SCENE_TEMPLATES

OPENSCENE_TEMPLATES = ("a {} in a scene",)

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"imagenet": IMAGENET_TEMPLATES, "maskclip": MASKCLIP_TEMPLATES, "openscene": OPENSCENE_TEMPLATES, "bare": ("{}",)}
)
"""Prompt ensembles by name: 80 for SC-CLIP, 85 for MaskCLIP and CLIP2Scene, 1 for OpenScene, and the word alone."""


def filled_prompts(phrase: str, templates: Sequence[str]) -> list[str]:
    """The phrase put into every template."""
    return [template.replace("{}", phrase) for template in templates]


def vocabulary_from_words(words: str, templates: Sequence[str] = IMAGENET_TEMPLATES) -> Vocabulary:
    """Classes as typed on a command line: ``wall, floor, couch|sofa, chair``.

    Args:
        words: classes between commas; ``|`` stands between synonyms of one class, the first of which is its name.
        templates: prompts with one ``{}`` each.

    Raises:
        ConventionError: no class, an empty one, or a name twice.
    """
    if not words.strip():
        raise ConventionError("classes", expected="names between commas", got="nothing", fix='e.g. "wall, floor, couch|sofa"')
    return _vocabulary([part.split("|") for part in words.split(",")], templates, words)


def vocabulary_from_file(path: str | Path, templates: Sequence[str] = IMAGENET_TEMPLATES) -> Vocabulary:
    """Classes from a file.

    Args:
        path: ``.json`` as in a scene folder (``classes.json``: names, phrases, colours and prompts), or a text file with one
            class per line, its synonyms after ``|`` or ``,``; empty lines and lines that begin with ``#`` are passed over.
        templates: prompts for a text file; a JSON file has its own.

    Raises:
        DataFormatError: no such file, another format, no class, an empty synonym, or a name twice.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return read_vocabulary(path)[0]
    with open_bounded(path) as (file, size):
        if size > _MAX_TEXT_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_TEXT_BYTES:,} bytes of class names", got=f"{size:,}")
        data = file.read(size)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFormatError(path, f"byte {error.start}", expected="text in UTF-8", got=error.reason) from error
    lines = [line.strip() for line in text.splitlines()]
    groups = [re.split(r"[|,]", line) for line in lines if line and not line.startswith("#")]
    if not groups:
        raise DataFormatError(path, expected="one class per line", got="no class")
    try:
        return _vocabulary(groups, templates, path.name)
    except ConventionError as error:
        raise DataFormatError(path, got=str(error)) from error


_MAX_TEXT_BYTES = 1 << 22  # the largest class lists in use have 21,000 lines


def _vocabulary(groups: Sequence[Sequence[str]], templates: Sequence[str], source: str) -> Vocabulary:
    cleaned = [tuple(" ".join(phrase.split()) for phrase in group) for group in groups]
    for number, group in enumerate(cleaned, start=1):
        if not all(group):
            raise ConventionError(
                f"class {number} of {source!r}", expected="a word", got="nothing", fix="remove the extra comma or bar"
            )
    names = tuple(group[0] for group in cleaned)
    phrases = tuple(tuple(dict.fromkeys(group)) for group in cleaned)  # a synonym twice changes nothing
    return Vocabulary(names, phrases, tuple(templates), class_colors(len(names)))

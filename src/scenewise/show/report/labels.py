"""The report's sections of names and answers: classes seen from some views, heat maps of the questions that were asked."""

from pathlib import Path

import numpy as np
import torch

from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color, read_image
from scenewise.io.json_fields import read_json_object
from scenewise.io.labels import read_labels
from scenewise.io.scene_folder import ANSWER_FILE, QUERY_FOLDER, labels_path
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.lifting import render_scores
from scenewise.rendering import render
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import SceneCamera
from scenewise.scenes.sections import Picture, Pictures, ReportMaterial, Section
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.show.label_pictures import overlay_picture, with_legend

_MOST_ANSWERS = 6  # questions shown; more would make the page heavy
_SEEN = 0.5


def word_sections(material: ReportMaterial) -> list[Section]:
    """The classes of the splats, and heat maps of the questions that were asked; nothing where the scene has none.

    What cannot be shown becomes a warning.
    """
    sections: list[Section] = []
    try:
        if (names := _names(material)) is not None:
            sections.append(Section("Names", (names,)))
        paths = sorted((material.folder / QUERY_FOLDER).glob(f"*/{ANSWER_FILE}"))
        answers = [row for path in paths if (row := _answer(path, material.most_pictures)) is not None]
        sections.append(Section("Answers", tuple(answers[:_MOST_ANSWERS])))
    except (ScenewiseError, OSError) as error:
        sections.append(Section("Names", warnings=(f"No names: {error}",)))
    return sections


def _names(material: ReportMaterial) -> Pictures | None:
    folder, scene = material.folder, material.scene
    if not scene.num_gaussians or not labels_path(folder, "splats").is_file() or not (folder / VOCABULARY_FILE).is_file():
        return None
    vocabulary, teacher = read_vocabulary(folder / VOCABULARY_FILE)
    labels = read_labels(labels_path(folder, "splats"), count=scene.num_gaussians)
    pictures = [Picture(entry.name, class_picture(scene.gaussians, entry, labels, vocabulary)) for entry in material.views]
    known = float((labels.class_ids >= 0).mean())
    note = f"teacher {teacher or 'unknown'}, {known:.0%} of the splats named"
    return Pictures("Classes of the splats", note, tuple(pictures))


def class_picture(gaussians: Gaussians, entry: SceneCamera, labels: ElementLabels, vocabulary: Vocabulary) -> ImageU8:
    """The scene from a view, tinted with the classes of its splats, with a legend."""
    one_hot = np.zeros((len(labels), len(vocabulary)), dtype=np.float32)
    known = labels.class_ids >= 0
    one_hot[np.flatnonzero(known), labels.class_ids[known]] = 1.0
    shares = render_scores(gaussians, entry.camera, one_hot, normalize=False)
    ids = np.where(shares.sum(-1) >= _SEEN, shares.argmax(-1), -1).astype(np.int32)
    with torch.no_grad():
        color = image_u8_from_color(render(gaussians, entry.camera).color.numpy())
    seen = [float((ids == index).mean()) for index in range(len(vocabulary))]
    return with_legend(overlay_picture(color, ids, vocabulary.colors_u8), vocabulary.names, vocabulary.colors_u8, seen)


def _answer(path: Path, most_pictures: int) -> Pictures | None:
    """The heat maps of one question."""
    result = read_json_object(path)
    pictures = tuple(
        Picture(picture.stem.removeprefix("heat_"), read_image(picture))
        for picture in sorted(path.parent.glob("heat_*.png"))[:most_pictures]
    )
    if not pictures:
        return None
    found = len(result.objects("segments"))
    return Pictures(
        f"\u201c{result.text('text')}\u201d",
        f"{found} place{'' if found == 1 else 's'}, threshold {result.number('threshold'):.2f}",
        pictures,
    )

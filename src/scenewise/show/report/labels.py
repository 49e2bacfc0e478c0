"""What ``report.html`` shows of names and answers: classes seen from some views, heat maps of the questions that were asked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from scenewise.commands.query.run import QUERY_FOLDER, RESULT_FILE
from scenewise.errors import ScenewiseError
from scenewise.io.images import image_u8_from_color, read_image
from scenewise.io.json_fields import read_json_object
from scenewise.io.labels import read_labels
from scenewise.io.scene_folder import labels_path
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.lifting import render_scores
from scenewise.rendering import render
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import Scene, SceneCamera
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.show.label_pictures import overlay_picture, with_legend
from scenewise.show.pictures import ImageU8
from scenewise.show.report.page import Gallery

_MOST_ANSWERS = 6  # questions shown; more would make the page heavy
_SEEN = 0.5


def label_galleries(folder: Path, scene: Scene, views: int, warnings: list[str]) -> tuple[list[Gallery], list[Gallery]]:
    """Galleries of names and of answers; empty where the scene has none.

    Args:
        folder: scene folder.
        scene: what it describes.
        views: pictures per gallery.
        warnings: takes what could not be shown.
    """
    names: list[Gallery] = []
    answers: list[Gallery] = []
    try:
        if scene.num_gaussians and labels_path(folder, "splats").is_file() and (folder / VOCABULARY_FILE).is_file():
            vocabulary, teacher = read_vocabulary(folder / VOCABULARY_FILE)
            labels = read_labels(labels_path(folder, "splats"), count=scene.num_gaussians)
            pictures = {
                entry.name: class_picture(scene.gaussians, entry, labels, vocabulary)
                for entry in spread_cameras(shown_cameras(scene), views)
            }
            known = float((labels.class_id >= 0).mean())
            names.append(
                Gallery("Classes of the splats", f"teacher {teacher or 'unknown'}, {known:.0%} of the splats named", pictures)
            )
        answers = [
            gallery for path in sorted((folder / QUERY_FOLDER).glob(f"*/{RESULT_FILE}")) if (gallery := _answer(path, views))
        ]
    except (ScenewiseError, OSError) as error:
        warnings.append(f"No names: {error}")
    return names, answers[:_MOST_ANSWERS]


def class_picture(gaussians: Gaussians, entry: SceneCamera, labels: ElementLabels, vocabulary: Vocabulary) -> ImageU8:
    """The scene from a view, tinted with the classes of its splats, with a legend."""
    one_hot = np.zeros((len(labels), len(vocabulary)), dtype=np.float32)
    known = labels.class_id >= 0
    one_hot[np.flatnonzero(known), labels.class_id[known]] = 1.0
    shares = render_scores(gaussians, entry.camera, one_hot, normalize=False)
    ids = np.where(shares.sum(-1) >= _SEEN, shares.argmax(-1), -1).astype(np.int32)
    with torch.no_grad():
        color = image_u8_from_color(render(gaussians, entry.camera).color.numpy())
    seen = [float((ids == index).mean()) for index in range(len(vocabulary))]
    return with_legend(overlay_picture(color, ids, vocabulary.colors_u8), vocabulary.names, vocabulary.colors_u8, seen)


def _answer(path: Path, views: int) -> Gallery | None:
    """The heat maps of one question."""
    result = read_json_object(path)
    pictures = {
        picture.stem.removeprefix("heat_"): read_image(picture) for picture in sorted(path.parent.glob("heat_*.png"))[:views]
    }
    if not pictures:
        return None
    found = len(result.objects("segments"))
    return Gallery(
        f"\u201c{result.text('text')}\u201d",
        f"{found} place{'' if found == 1 else 's'}, threshold {result.number('threshold'):.2f}",
        pictures,
    )


def shown_cameras(scene: Scene) -> Sequence[SceneCamera]:
    return scene.cameras_of("test") or scene.cameras


def spread_cameras(cameras: Sequence[SceneCamera], count: int) -> list[SceneCamera]:
    """``count`` of them, evenly spaced and away from both ends."""
    if len(cameras) <= count:
        return list(cameras)
    return [cameras[int((index + 0.5) * len(cameras) / count)] for index in range(count)]

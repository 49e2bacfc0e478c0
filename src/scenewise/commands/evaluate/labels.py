"""How well a scene's labels agree with the class maps of its capture, where it has them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.engine.progress import Progress
from scenewise.io.labels import read_labels
from scenewise.io.rgbd.capture_json import read_class_names
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.io.scene_folder import labels_path
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.metrics.segmentation import ConfusionMatrix, SegmentationScores
from scenewise.parts.lifting import render_scores
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.vocabularies import Vocabulary

_SEEN = 0.5  # share of a pixel that labelled splats must cover before the pixel has a label


def evaluate_labels(
    folder: Path, capture: Capture, frames: Sequence[Frame], load_gaussians: Callable[[], Gaussians], progress: Progress
) -> SegmentationScores | None:
    """Classes of splats, rendered into views, against the views' class maps; None where there are no labels or no maps.

    A pixel shows the class with the largest Σα·T among its splats and counts as an error where nothing labelled covers it.

    Args:
        folder: scene folder with ``labels_splats.safetensors`` and ``classes.json``.
        capture: where class maps may be; classes that the scene was not asked for do not count.
        frames: views to compare, with the scene's cameras.
        load_gaussians: reads those of the scene.
        progress: where to report.
    """
    names = read_class_names(capture.root) if capture.source_format == "rgbd" else None
    if names is None or not (folder / VOCABULARY_FILE).is_file() or not labels_path(folder, "splats").is_file():
        return None
    vocabulary, _ = read_vocabulary(folder / VOCABULARY_FILE)
    gaussians = load_gaussians()
    labels = read_labels(labels_path(folder, "splats"), count=len(gaussians))
    table = asked_for(names, vocabulary)
    one_hot = np.zeros((len(gaussians), len(vocabulary)), dtype=np.float32)
    known = labels.class_ids >= 0
    one_hot[np.flatnonzero(known), labels.class_ids[known]] = 1.0
    matrix = ConfusionMatrix(vocabulary.names)
    with progress.stage("compare labels", len(frames)) as stage:
        for frame in frames:
            ids = read_class_ids(frame)
            if ids is not None:
                shares = render_scores(gaussians, frame.camera, one_hot, normalize=False)
                said = np.where(shares.sum(-1) >= _SEEN, shares.argmax(-1), -1)
                matrix.update(said, np.where(ids >= 0, table[ids], -1))
            stage.advance()
    scores = matrix.scores()
    return scores if scores.count else None


def asked_for(names: Sequence[str], vocabulary: Vocabulary) -> Int64[np.ndarray, "classes"]:
    """The scene's class for each class of the truth, by name or phrase; −1 = not asked for."""
    positions = {phrase.lower(): index for index, phrases in enumerate(vocabulary.phrases) for phrase in phrases}
    positions |= {name.lower(): index for index, name in enumerate(vocabulary.names)}
    return np.array([positions.get(name.lower(), -1) for name in names], dtype=np.int64)

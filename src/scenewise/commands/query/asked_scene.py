"""What a scene folder holds that can be asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from scenewise.errors import ShapeError
from scenewise.io.named_points import read_named_points
from scenewise.io.scene_folder import POINTS_FILE, read_scene_labels
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.scenes.elements import Elements
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.heats import Heat
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene


@dataclass(frozen=True)
class AskedElements:
    """Splats or points with the answer to a question.

    Attributes:
        elements: they, with their own colours.
        heat: relevancy of each.
        surface: which of them are surface, not haze.
        labels: of each, or None.
    """

    elements: Elements
    heat: Float32[np.ndarray, "n"]
    surface: Bool[np.ndarray, "n"]
    labels: ElementLabels | None


@dataclass(frozen=True)
class AskedScene:
    """A scene with all that a question needs of it.

    Attributes:
        scene: its description.
        gaussians: its splats; none where it has none.
        cloud: its points in the colours of the photographs, or None.
        names: of its classes; empty where nothing is named.
        folder: where it is.
    """

    scene: Scene
    gaussians: Gaussians
    cloud: PointCloud | None
    names: tuple[str, ...]
    folder: Path

    def answered(self, heat: Heat) -> tuple[AskedElements, ...]:
        """The sets of elements that have an answer, splats first.

        Raises:
            ShapeError: features belong to other elements than those in the folder.
        """
        sets = []
        for kind, values in (("splats", heat.splats), ("points", heat.points)):
            if values is None:
                continue
            elements = self._splats() if kind == "splats" else self._points()
            if len(values) != len(elements):
                raise ShapeError(
                    f"features of {kind}", expected=f"{len(elements)} rows", got=len(values), fix="run scenewise segment again"
                )
            surface = np.ones(len(elements), dtype=bool)
            if kind == "splats":
                surface = (self.gaussians.opacities >= LEAST_OPACITY).numpy()
            sets.append(AskedElements(elements, values, surface, read_scene_labels(self.folder, elements.kind)))
        return tuple(sets)

    def _splats(self) -> Elements:
        return Elements.of_gaussians(self.gaussians)

    def _points(self) -> Elements:
        return Elements("points", np.zeros((0, 3))) if self.cloud is None else Elements.of_cloud(self.cloud)


def read_asked_scene(folder: Path, scene: Scene) -> AskedScene:
    """What the folder of a scene holds.

    Raises:
        DataFormatError: a file is damaged.
    """
    cloud = read_named_points(folder / POINTS_FILE) if (folder / POINTS_FILE).exists() else None
    path = folder / VOCABULARY_FILE
    names = read_vocabulary(path)[0].names if path.exists() else ()
    return AskedScene(scene, scene.load_gaussians(), cloud, names, folder)

"""Questions by the descriptors that another network gave of a library's views."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ConventionError
from scenewise.io.descriptor_files import DescriptorFiles
from scenewise.io.scene_library.records import LibraryAbout, StoredScene
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.filters import EVERYTHING, SceneFilter
from scenewise.parts.retrieval.searching import index_of_scene

_NEAREST = 4096
"""Views that are looked at for each asked vector; of a library with no more, that is all of them."""


@dataclass(frozen=True)
class LikeScene:
    """A scene whose views look like what is asked for.

    Attributes:
        scene: which.
        score: mean over the asked vectors of the cosine to the scene's view that is most like each.
        view: row of the library's views that is most like any of them.
    """

    scene: StoredScene
    score: float
    view: int


def require_same_network(about: LibraryAbout, files: DescriptorFiles, fix: str) -> None:
    """Refuses descriptors of another network than those that a library keeps; ConventionError."""
    if (about.other_encoder, about.other_dim) != (files.name, files.dim):
        held = "none" if about.other_dim is None else f"{about.other_encoder} with {about.other_dim} numbers"
        raise ConventionError(
            "--descriptors",
            expected=f"those the library was made with: {held}",
            got=f"{files.name} with {files.dim} numbers",
            fix=fix,
        )


def descriptors_of_scene(library: SceneLibrary, name: str) -> Float32[np.ndarray, "views e"]:
    """What the other network said of a scene's views.

    Raises:
        ConventionError: no such scene, or nothing is known of it.
    """
    scenes = library.scenes()
    name = scenes[index_of_scene(scenes, name)].name
    known = library.scene(name).views.other_descriptors
    if known is None or not len(known):
        fix = "scenewise library add SOURCE --descriptors files:DIR, into a library that was made with them"
        raise ConventionError(f"descriptors of {name}", expected="some of another network", got="none", fix=fix)
    return known.astype(np.float32)


def scenes_like(
    library: SceneLibrary,
    asked: Float32[np.ndarray, "q e"],
    most: int = 10,
    where: SceneFilter = EVERYTHING,
    *,
    but: str | None = None,
) -> tuple[LikeScene, ...]:
    """Scenes with views like what is asked for, the likest first; those of which the network said nothing are no answer.

    Args:
        library: with descriptors of another network.
        asked: of that network, of any length but zero.
        most: hits.
        where: which scenes are looked at.
        but: name of a scene that is left out: the asked one itself.

    Raises:
        ShapeError, ConventionError: vectors of another dimension, or a library without such descriptors.
        DataFormatError: the library is damaged.
    """
    meant = [scene for scene in library.scenes() if scene.name != but and where.holds(scene)]
    count = sum(scene.num_views for scene in meant)
    if not count:
        return ()
    near = library.nearest("other_views", asked, min(count, _NEAREST), scenes=[scene.name for scene in meant])
    is_found = near.scene_index >= 0
    # Of a scene that is not among the nearest, no view is likelier than the last of them.
    last = np.where(is_found[:, -1], near.similarities[:, -1], -1.0)
    best = np.repeat(last[:, None].astype(np.float32), len(near.scenes), axis=1)
    queries, ranks = np.nonzero(is_found)
    owners = near.scene_index[queries, ranks]
    np.maximum.at(best, (queries, owners), near.similarities[queries, ranks])
    scores, likest = best.mean(axis=0), dict[int, int]()
    for query, rank in sorted(zip(queries.tolist(), ranks.tolist()), key=lambda at: -near.similarities[at]):
        likest.setdefault(int(near.scene_index[query, rank]), int(near.indices[query, rank]))
    order = sorted(likest, key=lambda index: (-scores[index], near.scenes[index].name))
    return tuple(LikeScene(near.scenes[index], float(scores[index]), likest[index]) for index in order[:most])

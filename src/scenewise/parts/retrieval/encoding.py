"""What is kept of a scene: key points, things, views and one vector for the whole; from points and pictures alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32

from scenewise.errors import ConventionError
from scenewise.io.captures import usable_frames
from scenewise.io.resizing import resized
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import LabelledElements, find_instances
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.retrieval.color_names import name_shares, white_of
from scenewise.parts.retrieval.keypoints import MOST_OF_SCENE, KeyPoints, scene_keypoints
from scenewise.parts.retrieval.likeness import mean_vector
from scenewise.parts.scans.bare_scans import scan_axes
from scenewise.parts.segments.instances import connected_instances
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.elements import Elements
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.consistent import CloudFeatures, ConsistentFeatures


@dataclass(frozen=True)
class EncodingSettings:
    """How much is kept of a scene.

    Attributes:
        key_points: at most.
        views: pictures, spread evenly over those there are.
        view_width: pixels at which they are looked at.
    """

    key_points: int = MOST_OF_SCENE
    views: int = 12
    view_width: int = 320


@dataclass(frozen=True)
class EncodedView:
    """A picture of a scene.

    Attributes:
        name: of the frame.
        camera: where it was taken.
        descriptor: unit vector.
        picture_u8: small.
    """

    name: str
    camera: Cameras
    descriptor: Float32[np.ndarray, "dim"]
    picture_u8: ImageU8


@dataclass(frozen=True)
class EncodedThing:
    """A thing of a scene, as the encoder names it.

    Attributes:
        class_name: the word that fits best.
        confidence: mean over its voxels, in [0, 1].
        center_in_world: of its box.
        size: full lengths of its box along the world's axes.
        num_points: of it.
        feature: unit vector.
        color: mean, sRGB in [0, 1].
        color_shares: how much of it is called each of :data:`~scenewise.parts.retrieval.color_names.COLOR_NAMES`.
    """

    class_name: str
    confidence: float
    center_in_world: Float64[np.ndarray, "3"]
    size: Float64[np.ndarray, "3"]
    num_points: int
    feature: Float32[np.ndarray, "dim"]
    color: Float32[np.ndarray, "3"]
    color_shares: Float32[np.ndarray, "names"]


@dataclass(frozen=True)
class EncodedScene:
    """Everything that is kept of a scene.

    Attributes:
        key_points: world units along the world's axes, about ``offset_in_world``.
        descriptor: unit vector.
        things: largest first.
        views: in the order of the frames.
        bounds_in_world: lowest and highest corner.
        num_points: of the cloud.
        world_units_per_metre: 1 for metric captures.
        offset_in_world: of the key points, which are kept local.
    """

    key_points: KeyPoints
    descriptor: Float32[np.ndarray, "dim"]
    things: tuple[EncodedThing, ...]
    views: tuple[EncodedView, ...]
    bounds_in_world: Float64[np.ndarray, "2 3"]
    num_points: int
    world_units_per_metre: float
    offset_in_world: Float64[np.ndarray, "3"]


def encode_scene(
    raw: RawScan, model: ConsistentFeatures, vocabulary: Vocabulary, settings: EncodingSettings | None = None
) -> EncodedScene:
    """Looks at the points and some pictures of a scan.

    Args:
        raw: the scan; pictures may be missing.
        model: the two branches.
        vocabulary: what things may be called.
        settings: how much is kept.

    Raises:
        ConventionError: points without colours, or none.
    """
    settings = EncodingSettings() if settings is None else settings
    colors = raw.cloud.colors_u8
    if colors is None:
        raise ConventionError(f"points of {raw.name}", expected="colours", got="none", fix="colour them from the pictures first")
    axes = scan_axes(raw)
    cloud = model.of_points(axes(raw.cloud.points_in_world), colors)
    found = scene_keypoints(cloud, settings.key_points)
    unit = axes.world_units_per_metre

    def in_world(points: np.ndarray) -> Float64[np.ndarray, "n 3"]:
        return points.astype(np.float64) * unit @ axes.rotation + axes.middle_in_world

    points = raw.cloud.points_in_world
    return EncodedScene(
        key_points=KeyPoints((in_world(found.positions) - axes.middle_in_world).astype(np.float32), found.features, found.scores),
        descriptor=mean_vector(cloud.features, cloud.scores),
        things=_things(cloud, colors, model, vocabulary, in_world),
        views=tuple(encoded_view(frame, model, settings) for frame in frames_looked_at(raw, settings)),
        bounds_in_world=np.stack([points.min(axis=0), points.max(axis=0)]),
        num_points=len(points),
        world_units_per_metre=unit,
        offset_in_world=axes.middle_in_world,
    )


def _things(
    cloud: CloudFeatures,
    colors_u8: np.ndarray,
    model: ConsistentFeatures,
    vocabulary: Vocabulary,
    in_world: Callable[[np.ndarray], Float64[np.ndarray, "n 3"]],
) -> tuple[EncodedThing, ...]:
    """Connected voxels of one name, mended as those of a scene graph are."""
    class_ids, confidence = named_voxels(cloud, model, vocabulary)
    centers = cloud.centers.astype(np.float64)
    means = mean_colors(cloud, colors_u8)
    named = name_shares(means.astype(np.float64), white_of(colors_u8))
    elements = LabelledElements(
        Elements("points", centers, means), ElementLabels(class_ids, connected_instances(centers, class_ids), confidence)
    )
    found = find_instances([elements], vocabulary.names, UprightFrame(np.eye(3)))
    numbers = found.numbers[0]
    points_of_voxel = np.bincount(cloud.voxel_of_point, minlength=len(cloud))
    things = []
    for instance in found.instances:
        rows = np.flatnonzero(numbers == instance.number)
        if not len(rows):
            continue
        corners = in_world(centers[rows])
        low, high = corners.min(axis=0), corners.max(axis=0)
        things.append(
            EncodedThing(
                class_name=vocabulary.names[instance.class_id],
                confidence=float(instance.confidence),
                center_in_world=(low + high) / 2,
                size=high - low,
                num_points=int(points_of_voxel[rows].sum()),
                feature=mean_vector(cloud.features[rows]),
                color=means[rows].mean(axis=0),
                color_shares=named[rows].mean(axis=0),
            )
        )
    return tuple(sorted(things, key=lambda thing: -thing.num_points))


def named_voxels(
    cloud: CloudFeatures, model: ConsistentFeatures, vocabulary: Vocabulary
) -> tuple[Int32[np.ndarray, "voxels"], Float32[np.ndarray, "voxels"]]:
    """The class whose words fit each voxel best, and how surely: the softmax over all words."""
    text = model.embed_text(vocabulary.queries, vocabulary.templates)
    logits = model.logit_scale * (model.translated(cloud.features) @ text.T)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = np.zeros((len(cloud), len(vocabulary)), dtype=np.float32)
    np.add.at(shares.T, vocabulary.class_of_query, (weights / weights.sum(axis=1, keepdims=True)).T)
    class_ids = shares.argmax(axis=1)
    return class_ids.astype(np.int32), shares[np.arange(len(cloud)), class_ids].clip(0.0, 1.0)


def mean_colors(cloud: CloudFeatures, colors_u8: np.ndarray) -> Float32[np.ndarray, "voxels 3"]:
    """Mean colour of the points in each voxel, sRGB in [0, 1]."""
    counts = np.bincount(cloud.voxel_of_point, minlength=len(cloud))
    sums = [np.bincount(cloud.voxel_of_point, colors_u8[:, channel], len(cloud)) for channel in range(3)]
    return (np.stack(sums, axis=1) / (255.0 * np.maximum(counts, 1)[:, None])).astype(np.float32)


def frames_looked_at(raw: RawScan, settings: EncodingSettings) -> tuple[Frame, ...]:
    """Those of a scan's pictures that are kept as views."""
    if raw.capture is None or not raw.capture.frames_with_image:
        return ()
    return spread_evenly(usable_frames(raw.capture), settings.views)


def encoded_view(frame: Frame, model: ConsistentFeatures, settings: EncodingSettings) -> EncodedView:
    """A picture's descriptor and a small copy of it."""
    camera = frame.camera
    width = min(settings.view_width, camera.width)
    small = resized(frame, width, max(1, round(camera.height * width / camera.width)))
    assert small.load_image is not None
    picture = small.load_image()
    seen = model.of_picture(picture)
    descriptor = mean_vector(seen.features.reshape(-1, model.dim), seen.scores.reshape(-1))
    return EncodedView(frame.name, camera, descriptor, picture)

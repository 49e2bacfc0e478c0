"""Scenes become rows of a library."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.provenance import versions
from scenewise.io.json_values import fingerprint_of, json_ready
from scenewise.io.scene_library.records import (
    KeyPointRows,
    LibraryAbout,
    ObjectRows,
    SceneFacts,
    SceneRows,
    ViewRows,
)
from scenewise.parts.retrieval.encoding import EncodedScene, EncodedThing, EncodedView, EncodingSettings, encode_scene
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.consistent import ConsistentFeatures

_THUMBNAIL = 256  # pixels of the longer side
_QUALITY = 80
_FROM_ABOVE = 256
_VERSION = 1  # of what is computed; a new number enters scenes anew


@dataclass(frozen=True)
class SceneLabels:
    """What a person knows about a capture.

    Attributes:
        name: in the library.
        source: where it came from.
        kind: of the source.
        date: of the capture, ISO 8601.
        place: in words.
        licence: of the capture.
    """

    name: str
    source: str
    kind: str
    date: str | None = None
    place: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Entering:
    """How scenes are entered.

    Attributes:
        model: the encoder.
        vocabulary: what things may be called.
        settings: how much is kept.
    """

    model: ConsistentFeatures
    vocabulary: Vocabulary
    settings: EncodingSettings = field(default_factory=EncodingSettings)

    def about(self, other_encoder: str | None = None, other_dim: int | None = None) -> LibraryAbout:
        """Of a new library that scenes are entered into like this."""
        return LibraryAbout(
            encoder=self.model.name,
            fingerprint=self.model.fingerprint,
            licence=self.model.licence or "unknown",
            dim=self.model.dim,
            class_names=self.vocabulary.names,
            other_encoder=other_encoder,
            other_dim=other_dim,
        )

    def content_hash(self, raw: RawScan) -> str:
        """Of the points, pictures and cameras of a scan and of everything that decides its rows."""
        cloud = raw.cloud
        capture = None if raw.capture is None else capture_hash(raw.capture)
        about = {
            "version": _VERSION,
            "capture": capture,
            "points": _digest(cloud.points_in_world),
            "colors": None if cloud.colors_u8 is None else _digest(cloud.colors_u8),
            "encoder": self.model.fingerprint,
            "classes": list(self.vocabulary.names),
            "settings": asdict(self.settings),
        }
        return fingerprint_of(about)

    def rows(
        self, raw: RawScan, labels: SceneLabels, other_descriptors: Mapping[str, Float32[np.ndarray, "e"]] | None = None
    ) -> SceneRows:
        """Looks at a scan and says what is kept of it.

        Args:
            raw: its points and pictures.
            labels: what a person knows.
            other_descriptors: of another network, by the names of the pictures.

        Raises:
            ConventionError: points without colours, or none.
        """
        scene = encode_scene(raw, self.model, self.vocabulary, self.settings)
        capture = raw.capture
        counts = Counter(thing.class_name for thing in scene.things)
        facts = SceneFacts(
            name=labels.name,
            source=labels.source,
            kind=labels.kind,
            content_hash=self.content_hash(raw),
            date=labels.date,
            place=labels.place,
            licence=labels.licence or (None if capture is None else capture.licence),
            scale="metric" if capture is None else capture.scale,
            offset_in_source=scene.offset_in_world,
            bounds_in_world=(scene.bounds_in_world - scene.offset_in_world).astype(np.float32),
            num_points=scene.num_points,
            class_counts=dict(sorted(counts.items())),
            provenance=json_ready(
                {
                    "encoder": self.model.name,
                    "settings": asdict(self.settings),
                    "points": raw.cloud_source,
                    "world_units_per_metre": scene.world_units_per_metre,
                    "versions": versions(),
                }
            ),
        )
        return SceneRows(
            facts=facts,
            fingerprint=self.model.fingerprint,
            descriptor=scene.descriptor,
            thumbnail=_scene_thumbnail(scene, raw),
            views=_view_rows(scene.views, scene.offset_in_world, self.model.dim, other_descriptors),
            objects=_object_rows(scene.things, scene.offset_in_world, self.model.dim),
            key_points=KeyPointRows(scene.key_points.positions, scene.key_points.scores, scene.key_points.features),
        )


def local_camera(
    camera_from_world: Float64[np.ndarray, "4 4"], offset_in_world: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """The same camera for points that are given from the offset on."""
    moved = camera_from_world.copy()
    moved[:3, 3] += camera_from_world[:3, :3] @ offset_in_world
    return moved


def _view_rows(
    views: Sequence[EncodedView],
    offset: Float64[np.ndarray, "3"],
    dim: int,
    others: Mapping[str, Float32[np.ndarray, "e"]] | None,
) -> ViewRows:
    poses = [local_camera(view.camera.camera_from_world.numpy(), offset) for view in views]
    known = None
    if others is not None and views and all(view.name in others for view in views):
        known = np.stack([others[view.name] for view in views])
    return ViewRows(
        names=tuple(view.name for view in views),
        camera_from_world=np.stack(poses) if poses else np.zeros((0, 4, 4)),
        K=np.stack([view.camera.K.numpy() for view in views]) if views else np.zeros((0, 3, 3)),
        widths=np.array([view.camera.width for view in views], dtype=np.int32),
        heights=np.array([view.camera.height for view in views], dtype=np.int32),
        descriptors=np.stack([view.descriptor for view in views]) if views else np.zeros((0, dim), np.float32),
        other_descriptors=known,
        thumbnails=tuple(jpeg(view.picture_u8) for view in views),
    )


def _object_rows(things: Sequence[EncodedThing], offset: Float64[np.ndarray, "3"], dim: int) -> ObjectRows:
    def stacked(values: list[np.ndarray], width: int) -> Float32[np.ndarray, "n width"]:
        return np.stack(values).astype(np.float32) if values else np.zeros((0, width), np.float32)

    return ObjectRows(
        ids=np.arange(len(things), dtype=np.int32),
        class_names=tuple(thing.class_name for thing in things),
        confidences=np.array([thing.confidence for thing in things], dtype=np.float32),
        centers_in_world=stacked([thing.center_in_world - offset for thing in things], 3),
        sizes=stacked([thing.size for thing in things], 3),
        num_points=np.array([thing.num_points for thing in things], dtype=np.int32),
        colors=stacked([thing.color for thing in things], 3),
        features=stacked([thing.feature for thing in things], dim),
        thumbnails=(b"",) * len(things),
    )


# ------------------------------------------------------------------------------------------------------------------ pictures


def jpeg(picture_u8: ImageU8) -> bytes:
    """A small JPEG of a picture."""
    from PIL import Image

    image = Image.fromarray(picture_u8)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _scene_thumbnail(scene: EncodedScene, raw: RawScan) -> bytes:
    """The view that shows most of the scene's kind, or the cloud from above where there are none."""
    if scene.views:
        likeness = [float(view.descriptor @ scene.descriptor) for view in scene.views]
        return jpeg(scene.views[int(np.argmax(likeness))].picture_u8)
    assert raw.cloud.colors_u8 is not None
    return jpeg(cloud_from_above(raw.cloud.points_in_world, raw.cloud.colors_u8))


def cloud_from_above(
    points: Float64[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"], pixels: int = _FROM_ABOVE
) -> ImageU8:
    """A cloud seen from above without its highest tenth, which is often a ceiling; white where there is nothing."""
    low, high = points.min(axis=0), points.max(axis=0)
    kept = points[:, 2] <= high[2] - 0.1 * (high[2] - low[2])
    shown, colors = (points[kept], colors_u8[kept]) if kept.any() else (points, colors_u8)
    extent = max(float((high - low)[:2].max()), 1e-9)
    columns = ((shown[:, 0] - low[0]) / extent * (pixels - 1)).astype(np.int64)
    rows = ((high[1] - shown[:, 1]) / extent * (pixels - 1)).astype(np.int64)
    order = np.argsort(shown[:, 2], kind="stable")  # what is higher is drawn over what is lower
    picture = np.full((pixels, pixels, 3), 255, dtype=np.uint8)
    picture[rows[order], columns[order]] = colors[order]
    return picture


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()

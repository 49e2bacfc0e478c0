"""Scenes become rows of a library."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

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
from scenewise.parts.retrieval.color_names import COLOR_NAMES
from scenewise.parts.retrieval.encoding import EncodedScene, EncodedThing, EncodedView, EncodingSettings, encode_scene
from scenewise.parts.retrieval.frames import camera_from_local, in_source_frame
from scenewise.parts.scans.bare_scans import scan_axes
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.consistent import ConsistentFeatures

_THUMBNAIL = 256  # pixels of the longer side
_QUALITY = 80
_FROM_ABOVE = (32, 256)  # pixels of the longer side, as points allow
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
        scan: name of the scan where the source holds several.
    """

    name: str
    source: str
    kind: str
    date: str | None = None
    place: str | None = None
    licence: str | None = None
    scan: str | None = None


@dataclass(frozen=True)
class OtherDescriptors:
    """What another network says of the pictures of a scene.

    Attributes:
        by_name: unit vectors, by the names of the pictures.
        digest: of all of them.
    """

    by_name: Mapping[str, Float32[np.ndarray, "e"]]
    digest: str


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
            color_names=COLOR_NAMES,
            other_encoder=other_encoder,
            other_dim=other_dim,
        )

    def content_hash(self, raw: RawScan, descriptors: str | None = None) -> str:
        """Of the points, pictures and cameras of a scan and of everything that decides its rows.

        Args:
            raw: the scan; points that follow from its pictures (:func:`follow_from_pictures`) need not be there.
            descriptors: digest of those of another network.
        """
        cloud = None if follow_from_pictures(raw.capture) else raw.cloud
        capture = None if raw.capture is None else capture_hash(raw.capture)
        about: dict[str, Any] = {
            "version": _VERSION,
            "capture": capture,
            "scale": None if raw.capture is None else raw.capture.scale,
            "up": None if raw.capture is None or raw.capture.up_in_world is None else raw.capture.up_in_world.tolist(),
            "points": None if cloud is None else _digest(cloud.points_in_world),
            "colors": None if cloud is None or cloud.colors_u8 is None else _digest(cloud.colors_u8),
            "encoder": self.model.fingerprint,
            "classes": [list(group) for group in self.vocabulary.phrases],
            "templates": list(self.vocabulary.templates),
            "settings": asdict(self.settings),
        }
        return fingerprint_of(about if descriptors is None else about | {"descriptors": descriptors})

    def rows(self, raw: RawScan, labels: SceneLabels, others: OtherDescriptors | None = None) -> SceneRows:
        """Looks at a scan and says what is kept of it, in the frame that its capture came in.

        Args:
            raw: its points and pictures.
            labels: what a person knows.
            others: descriptors of another network; pictures without one make all of the scene's unknown.

        Raises:
            ConventionError: points without colours, or none.
        """
        content = self.content_hash(raw, None if others is None else others.digest)
        raw = in_source_frame(raw)
        scene = encode_scene(raw, self.model, self.vocabulary, self.settings)
        capture = raw.capture
        counts = Counter(thing.class_name for thing in scene.things)
        facts = SceneFacts(
            name=labels.name,
            source=labels.source,
            kind=labels.kind,
            content_hash=content,
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
                    "classes": self.vocabulary.phrases,
                    "points": raw.cloud_source,
                    "scan": labels.scan,
                    "world_units_per_metre": scene.world_units_per_metre,
                    "up_in_source": None if capture is None or capture.up_in_world is None else capture.up_in_world.tolist(),
                    "descriptors": None if others is None else others.digest,
                    "versions": versions(),
                }
            ),
        )
        return SceneRows(
            facts=facts,
            fingerprint=self.model.fingerprint,
            descriptor=scene.descriptor,
            thumbnail=_scene_thumbnail(scene, raw),
            views=_view_rows(scene.views, scene.offset_in_world, self.model.dim, None if others is None else others.by_name),
            objects=_object_rows(scene.things, scene.offset_in_world, self.model.dim),
            key_points=KeyPointRows(scene.key_points.positions, scene.key_points.scores, scene.key_points.features),
        )


def follow_from_pictures(capture: Capture | None) -> bool:
    """Whether the points of a capture are made of matches between its pictures, which takes half a minute."""
    if capture is None or not capture.frames or (capture.points is not None and len(capture.points)):
        return False
    return all(frame.load_depth is None for frame in capture.frames)


def _view_rows(
    views: Sequence[EncodedView],
    offset: Float64[np.ndarray, "3"],
    dim: int,
    others: Mapping[str, Float32[np.ndarray, "e"]] | None,
) -> ViewRows:
    poses = [camera_from_local(view.camera.camera_from_world.numpy(), offset) for view in views]
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
        color_shares=stacked([thing.color_shares for thing in things], len(COLOR_NAMES)),
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
    points = raw.cloud.points_in_world @ scan_axes(raw).rotation.T  # +Z up
    return jpeg(cloud_from_above(points, raw.cloud.colors_u8))


def cloud_from_above(
    points: Float64[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"], pixels: int | None = None
) -> ImageU8:
    """A cloud seen from above without its highest tenth, which is often a ceiling; white where there is nothing.

    Args:
        points: +Z up.
        colors_u8: sRGB.
        pixels: of the longer side; None: a fourth as many in the square as there are points, so that surfaces have few holes.
    """
    pixels = int(np.clip(round(0.5 * len(points) ** 0.5), *_FROM_ABOVE)) if pixels is None else pixels
    low, high = points.min(axis=0), points.max(axis=0)
    kept = points[:, 2] <= high[2] - 0.1 * (high[2] - low[2])
    shown, colors = (points[kept], colors_u8[kept]) if kept.any() else (points, colors_u8)
    extent = max(float((high - low)[:2].max()), 1e-9)
    columns = ((shown[:, 0] - low[0]) / extent * (pixels - 1)).astype(np.int64)
    rows = ((high[1] - shown[:, 1]) / extent * (pixels - 1)).astype(np.int64)
    order = np.argsort(shown[:, 2], kind="stable")  # what is higher is drawn over what is lower
    picture = np.full((int(rows.max()) + 1, int(columns.max()) + 1, 3), 255, dtype=np.uint8)
    picture[rows[order], columns[order]] = colors[order]
    return picture


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()

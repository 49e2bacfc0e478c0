"""Small scenes for a library, made from a seed; no two rows are alike."""

from typing import Any

import numpy as np

from scenewise.io.scene_library.records import KeyPointRows, LibraryAbout, ObjectRows, SceneFacts, SceneRows, ViewRows

DIM, OTHER_DIM = 8, 5
ABOUT = LibraryAbout(
    encoder="condense",
    fingerprint="f00d",
    licence="Apache-2.0",
    dim=DIM,
    class_names=("chair", "table", "lamp"),
    color_names=("red", "blue", "gray"),
    other_encoder="dinov2",
    other_dim=OTHER_DIM,
)
JPEG = b"\xff\xd8\xff\xe0"


def unit_vectors(rng: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    """Random directions, as float32."""
    vectors = rng.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scene_rows(
    name: str, seed: int = 0, *, views: int = 3, objects: int = 2, key_points: int = 7, other: bool = True, **facts: Any
) -> SceneRows:
    """A scene with so many rows; its content hash tells the seed."""
    rng = np.random.Generator(np.random.PCG64([seed, *name.encode()]))
    known: dict[str, Any] = {
        "name": name,
        "source": f"captures/{name}",
        "kind": "RGB-D folder",
        "content_hash": f"hash-{name}-{seed}",
        "date": "2025-03-28",
        "place": 'Malmö, "O\'Brien"',
        "licence": None,
        "scale": "metric",
        "offset_in_source": np.array([500_000.125, 6_160_000.5, seed]),
        "bounds_in_world": np.array([[-1, -2, 0], [3, 4, 2.5]], dtype=np.float32),
        "num_points": 1234,
        "class_counts": {"lamp": 1, "chair": seed},
        "provenance": {"versions": {"scenewise": "0.1"}, "seed": seed},
    }
    cameras = np.tile(np.eye(4), (views, 1, 1))
    cameras[:, :3, 3] = rng.standard_normal((views, 3))
    K = np.array([[500.0, 0.1, 320.5], [0, 510.0, 240.25], [0, 0, 1]])
    return SceneRows(
        facts=SceneFacts(**{**known, **facts}),
        fingerprint=ABOUT.fingerprint,
        descriptor=unit_vectors(rng, 1)[0],
        thumbnail=JPEG + name.encode(),
        views=ViewRows(
            names=tuple(f"frame-{i}" for i in range(views)),
            camera_from_world=cameras,
            K=np.tile(K, (views, 1, 1)),
            widths=np.full(views, 640, dtype=np.int32),
            heights=np.full(views, 480, dtype=np.int32),
            descriptors=unit_vectors(rng, views),
            other_descriptors=unit_vectors(rng, views, OTHER_DIM) if other else None,
            thumbnails=tuple(JPEG + f"{name} view {i}".encode() for i in range(views)),
        ),
        objects=ObjectRows(
            ids=np.arange(10, 10 + objects, dtype=np.int32),
            class_names=tuple(("chair", "lamp", "table")[i % 3] for i in range(objects)),
            confidences=rng.uniform(size=objects).astype(np.float32),
            centers_in_world=rng.standard_normal((objects, 3)).astype(np.float32),
            sizes=rng.uniform(size=(objects, 3)).astype(np.float32),
            num_points=np.arange(objects, dtype=np.int32),
            colors=rng.random((objects, 3), dtype=np.float32),
            color_shares=rng.random((objects, 3), dtype=np.float32),
            features=unit_vectors(rng, objects),
            thumbnails=tuple(b"" if i else JPEG + b"object" for i in range(objects)),
        ),
        key_points=KeyPointRows(
            positions_in_world=rng.standard_normal((key_points, 3)).astype(np.float32),
            scores=rng.uniform(size=key_points).astype(np.float32),
            features=unit_vectors(rng, key_points),
        ),
    )

"""SIFT features of posed photographs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, UInt8

from scenewise.engine.progress import Progress
from scenewise.errors import MissingDependencyError
from scenewise.parts.points.settings import DEFAULT_SETTINGS, SILENT, TriangulationSettings
from scenewise.scenes.frames import Frame


@dataclass(frozen=True)
class SiftFeatures:
    """What SIFT finds in a picture.

    Attributes:
        pixels: positions in the picture, centres at half-integers.
        descriptors: RootSIFT, unit length.
        sizes: diameters of what is described, in pixels of the picture.
    """

    pixels: Float64[np.ndarray, "f 2"]
    descriptors: Float32[np.ndarray, "f 128"]
    sizes: Float32[np.ndarray, "f"]


@dataclass(frozen=True)
class ViewFeatures:
    """Features of one view.

    Attributes:
        pixels: positions, centres at half-integers.
        descriptors: RootSIFT, unit length.
        colors_u8: the image at the positions.
    """

    pixels: Float64[np.ndarray, "f 2"]
    descriptors: Float16[np.ndarray, "f 128"]
    colors_u8: UInt8[np.ndarray, "f 3"]


def detect_features(
    frames: tuple[Frame, ...],
    *,
    limit: int,
    settings: TriangulationSettings = DEFAULT_SETTINGS,
    threads: int = 2,
    progress: Progress = SILENT,
) -> list[ViewFeatures]:
    """SIFT features of each frame, the ``limit`` strongest of each, inside the frame's mask.

    Source: Lowe 2004; descriptors as RootSIFT, Arandjelović and Zisserman 2012 (√ of the L1-normalised histogram), whose
    Euclidean distance is the Hellinger distance of the histograms.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """

    def detect(frame: Frame) -> ViewFeatures:
        assert frame.load_image is not None
        image = frame.load_image()
        mask = None if frame.load_mask is None else frame.load_mask()
        found = sift_features(image, mask, limit=limit, settings=settings)
        column = np.clip(found.pixels[:, 0].astype(np.int64), 0, image.shape[1] - 1)
        row = np.clip(found.pixels[:, 1].astype(np.int64), 0, image.shape[0] - 1)
        return ViewFeatures(found.pixels, found.descriptors.astype(np.float16), image[row, column])

    with (
        one_opencv_thread(),
        ThreadPoolExecutor(max(1, threads)) as pool,
        progress.stage("finding features", len(frames)) as stage,
    ):
        features = []
        for found in pool.map(detect, frames):
            features.append(found)
            stage.advance()
    return features


def sift_features(
    image: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"] | None,
    *,
    limit: int,
    settings: TriangulationSettings = DEFAULT_SETTINGS,
) -> SiftFeatures:
    """SIFT features of one picture, the ``limit`` strongest, inside the mask; small pictures are enlarged first.

    Source: see :func:`detect_features`.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = _opencv()
    gray: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    usable = None if mask is None else mask.astype(np.uint8)
    enlarged = min(2.0, max(1.0, settings.min_side / max(gray.shape)))
    if enlarged > 1:
        size = (round(gray.shape[1] * enlarged), round(gray.shape[0] * enlarged))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC)
        usable = None if usable is None else cv2.resize(usable, size, interpolation=cv2.INTER_NEAREST)
    sift = cv2.SIFT_create(
        nfeatures=limit,
        nOctaveLayers=settings.octave_layers,
        contrastThreshold=settings.contrast,
        edgeThreshold=settings.edge,
        sigma=settings.sigma,
        enable_precise_upscale=True,
    )
    keypoints, histograms = sift.detectAndCompute(gray, usable)
    if not keypoints:
        return SiftFeatures(np.zeros((0, 2)), np.zeros((0, 128), np.float32), np.zeros(0, np.float32))
    pixels = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64) + 0.5  # OpenCV puts centres at integers
    pixels *= np.array([image.shape[1] / gray.shape[1], image.shape[0] / gray.shape[0]])
    sizes = np.array([keypoint.size for keypoint in keypoints], dtype=np.float32) * np.float32(image.shape[1] / gray.shape[1])
    unit = np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1e-9))
    return SiftFeatures(pixels, unit.astype(np.float32), sizes)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """One picture per worker: decoding runs in parallel too, and the order of sums is fixed.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = _opencv()
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads_before)


def _opencv() -> Any:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "opencv-python-headless", needed_for="finding features in photographs", extra="io"
        ) from error
    return cv2

"""Features of photographs at the working size; positions are in pixels of the full picture."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8

from scenewise.engine.data_hash import head_digest
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import DataFormatError
from scenewise.io.images import rgb_over, with_image
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import PICTURE_FEATURES
from scenewise.io.products import made
from scenewise.parts.points.features import one_opencv_thread, sift_features
from scenewise.parts.points.settings import TriangulationSettings
from scenewise.parts.poses.feature_files import QUANTA, PictureFeatures, read_features, write_features
from scenewise.parts.poses.photographs import Photograph
from scenewise.parts.poses.records import LeftOut
from scenewise.parts.poses.settings import PoseSettings

if TYPE_CHECKING:
    from PIL import Image

_OCTAVE_LAYERS, _EDGE, _MIN_SIDE = 3, 10.0, 480


@dataclass(frozen=True)
class KeptFeatures:
    """Features of a picture, and the file that keeps them."""

    features: PictureFeatures
    path: Path


def find_features(
    pictures: Sequence[Photograph],
    folder: Path,
    settings: PoseSettings,
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> tuple[list[KeptFeatures | None], list[LeftOut]]:
    """Features of each picture, found again in ``folder`` where they were found before.

    The result does not depend on the number of threads.

    Args:
        pictures: whose headers could be read.
        folder: keeps one file per picture.
        settings: size and number.
        threads: workers that decode and detect.
        progress: shows how many are done.

    Returns:
        Features in the order of the pictures, None for those that cannot be decoded; and these with the reason.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        ResourceError: the disk is full.
    """
    progress = NullProgress() if progress is None else progress
    asked = (settings.max_side, settings.max_features, settings.contrast, _OCTAVE_LAYERS, _EDGE, _MIN_SIDE)

    def find(picture: Photograph) -> KeptFeatures | LeftOut:
        try:
            fingerprint = fingerprint_of([*content_of(picture), asked])
            path = PICTURE_FEATURES.path(folder, picture.path.stem, fingerprint)
            kept = made(path, PICTURE_FEATURES, fingerprint, lambda to: _write(to, picture, settings), read_features)
            return KeptFeatures(kept.value, path)
        except DataFormatError as error:
            return LeftOut(picture.name, str(error).removeprefix(f"{picture.path}: "))

    found: list[KeptFeatures | None] = []
    left_out: list[LeftOut] = []
    folder.mkdir(parents=True, exist_ok=True)
    with (
        one_opencv_thread(),
        ThreadPoolExecutor(max(1, threads)) as pool,
        progress.stage("finding features", len(pictures)) as stage,
    ):
        for result in pool.map(find, pictures):
            found.append(result if isinstance(result, KeptFeatures) else None)
            if isinstance(result, LeftOut):
                left_out.append(result)
            stage.advance()
    return found, left_out


def content_of(picture: Photograph) -> list[str]:
    """What the features of a picture depend on: its file, and that of its mask."""
    return [head_digest(path) for path in (picture.path, picture.mask) if path is not None]


def _mask_at_size(picture: Photograph, mask: Path, width: int, height: int) -> Bool[np.ndarray, "height width"]:
    """Pixels to use at the working size; each takes the nearest of the mask."""
    from PIL import Image

    values = with_image(mask, lambda opened: np.asarray(opened.convert("L")) > 0)
    rows, columns = values.shape
    if abs(columns * picture.height - rows * picture.width) > max(rows, columns) * max(picture.height, picture.width) // 100:
        raise DataFormatError(
            mask,
            "mask size",
            expected=f"{picture.width}×{picture.height} like its photograph, or a copy at another scale",
            got=f"{columns}×{rows}",
            fix="make the mask of this photograph again, unrotated and uncropped",
        )
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST))


def _detect(picture: Photograph, settings: PoseSettings) -> PictureFeatures:
    image, scale = with_image(picture.path, lambda opened: _at_working_size(opened, settings.max_side))
    found = sift_features(
        image,
        None if picture.mask is None else _mask_at_size(picture, picture.mask, image.shape[1], image.shape[0]),
        limit=settings.max_features,
        settings=TriangulationSettings(octave_layers=_OCTAVE_LAYERS, contrast=settings.contrast, edge=_EDGE, min_side=_MIN_SIDE),
    )
    order = np.argsort(-found.sizes, kind="stable")[: settings.max_features]
    column = np.clip(found.pixels[:, 0].astype(np.int64), 0, image.shape[1] - 1)
    row = np.clip(found.pixels[:, 1].astype(np.int64), 0, image.shape[0] - 1)
    quantised = np.minimum(np.rint(QUANTA * found.descriptors), 255).astype(np.uint8)
    return PictureFeatures((found.pixels[order] * scale).astype(np.float32), quantised[order], image[row, column][order])


def _at_working_size(image: "Image.Image", max_side: int) -> tuple[UInt8[np.ndarray, "height width 3"], np.ndarray]:
    """The picture reduced, and pixels of the full one per pixel of it along both axes."""
    from PIL import Image

    full = image.size
    reduction = min(1.0, max_side / max(full))
    target = max(1, round(full[0] * reduction)), max(1, round(full[1] * reduction))
    image.draft("RGB", target)  # a JPEG is decoded at a half, a quarter … where that suffices
    per_decoded = max(1, round(full[0] / image.width))
    decoded = rgb_over(image, None)
    height, width = decoded.shape[:2]
    if reduction < 1:
        decoded = np.asarray(Image.fromarray(decoded).resize(target, Image.Resampling.BOX, reducing_gap=None))
    return decoded, per_decoded * np.array([width / decoded.shape[1], height / decoded.shape[0]])


def _write(path: Path, picture: Photograph, settings: PoseSettings) -> None:
    write_features(path, _detect(picture, settings), picture.name)

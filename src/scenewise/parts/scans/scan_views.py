"""Pictures of a scan with the teacher's answer at the size they are learned from."""

import numpy as np
from jaxtyping import Int32, UInt8

from scenewise.errors import ConventionError
from scenewise.io.resizing import resized
from scenewise.parts.scans.scans import ScanView
from scenewise.parts.scans.settings import Instruments, PreparationSettings
from scenewise.parts.words.pixel_classes import PixelRules, classify_pixels
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.regions.choose import SAM_PREFIX
from scenewise.teachers.regions.protocol import RegionSource

_MOST_CELLS = 1 << 16  # of a target's grid: SAM's has 4096


def small_frame(frame: Frame, width: int) -> Frame:
    """The frame at the width that is learned from; a narrower one as it is."""
    camera = frame.camera
    if camera.width <= width:
        return frame
    return resized(frame, width, max(1, round(camera.height * width / camera.width)))


def scan_view(
    frame: Frame, names: tuple[str, ...], small: Frame, instruments: Instruments, settings: PreparationSettings
) -> ScanView | None:
    """One picture with the teacher's answer; None where the teacher or the target has nothing for it."""
    assert frame.load_image is not None
    image = frame.load_image()
    field = _answer(instruments.teacher, image, names)
    if field is None:
        return None
    target = None
    if instruments.target is not None:
        target = instruments.target.grid(image, names)
        if target is None:
            return None
        if target.shape[0] * target.shape[1] > _MOST_CELLS:
            raise ConventionError(
                "targets", expected=f"at most {_MOST_CELLS:,} cells of a picture", got=f"{target.shape[0]}×{target.shape[1]}"
            )
    width, height = small.camera.width, small.camera.height
    pixels = image if small is frame else _resized(image, small)
    class_ids, confidence = classify_pixels(
        DenseField(field.values, height, width, field.kind),
        instruments.question,
        instruments.teacher.logit_scale,
        PixelRules(denoising_threshold=settings.denoising_threshold),
    )
    if small.load_mask is not None:
        kept = small.load_mask()
        class_ids, confidence = np.where(kept, class_ids, np.int32(-1)), np.where(kept, confidence, np.float32(0))
    regions = None if instruments.regions is None else _regions(instruments.regions, image, pixels)
    return ScanView(
        name=frame.name,
        labels=LabelField(class_ids, confidence.astype(np.float16).astype(np.float32)),
        image_u8=pixels if settings.pictures else None,
        regions=regions,
        targets=target,
    )


def _answer(teacher: Teacher, image: ImageU8, names: tuple[str, ...]) -> DenseField | None:
    return next((field for name in names if (field := teacher.dense(image, name)) is not None), None)


def _resized(image: ImageU8, small: Frame) -> UInt8[np.ndarray, "rows columns 3"]:
    """What ``small`` would decode, without decoding the photograph twice."""
    from PIL import Image

    size = (small.camera.width, small.camera.height)
    return np.ascontiguousarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _regions(
    source: RegionSource, image: ImageU8, picture: UInt8[np.ndarray, "rows columns 3"]
) -> Int32[np.ndarray, "rows columns"]:
    """Sets of the picture's pixels; −1 in holes.  A SAM looks at the photograph, what cuts by colour at the picture."""
    if not source.name.startswith(SAM_PREFIX) or image.shape == picture.shape:
        return source.regions(picture).ids
    ids = source.regions(image).ids
    rows = ((np.arange(picture.shape[0]) + 0.5) * image.shape[0] / picture.shape[0]).astype(np.int64)
    columns = ((np.arange(picture.shape[1]) + 0.5) * image.shape[1] / picture.shape[1]).astype(np.int64)
    return Partition.from_any_ids(np.ascontiguousarray(ids[rows[:, None], columns[None, :]]), "sam").ids

"""Plain images: a label map and an overlay each."""

import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scenewise.commands.segment.options import SegmentOptions
from scenewise.engine.progress import Progress, duration_text
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.images import png_bytes, read_image
from scenewise.io.vocabularies import VOCABULARY_FILE, write_vocabulary
from scenewise.parts.sources.targets import ImageTarget
from scenewise.parts.words.pixel_classes import ClassQuestion, PixelRules, classify_pixels
from scenewise.show.label_pictures import label_codes, overlay_picture, with_legend
from scenewise.show.pictures import file_stem
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import FILES_PREFIX
from scenewise.teachers.protocol import Teacher

CACHE_FOLDER = "cache/teacher"


@dataclass(frozen=True)
class ImagesSummary:
    """What ``scenewise segment`` made of plain images.

    Attributes:
        folder: where the pictures are.
        teacher: its name.
        images: how many were labelled.
        without_answer: images the teacher has nothing for.
        shares: mean share of the pixels per class, over the labelled images.
        coverage: mean share of pixels with a class.
        mean_confidence: over pixels with a class.
        answers_from_cache: images whose answer was on the disk.
        seconds: for all of them.
        files: label maps and overlays, in the order of the images.
    """

    folder: Path
    teacher: str
    images: int
    without_answer: int
    shares: dict[str, float]
    coverage: float
    mean_confidence: float
    answers_from_cache: int
    seconds: float
    files: tuple[Path, ...]

    def text(self) -> str:
        """A table for people."""
        width = max(len("class"), *(len(name) for name in self.shares))
        lines = [f"{'class':<{width}}  pixels"]
        for name, share in sorted(self.shares.items(), key=lambda item: -item[1]):
            if share > 0:
                lines.append(f"{name:<{width}}  {100 * share:5.1f}%")
        lacking = f", {self.without_answer} without an answer of {self.teacher}" if self.without_answer else ""
        lines.append(
            f"{self.images} images{lacking} in {duration_text(self.seconds)} ({self.answers_from_cache} from the cache); "
            f"{100 * self.coverage:.1f}% of the pixels have a class, mean confidence {self.mean_confidence:.2f}"
        )
        lines.append(f"{self.folder}: *_labels.png with class ids, *_overlay.png to look at, {VOCABULARY_FILE}")
        return "\n".join(lines)


def segment_images(
    target: ImageTarget, teacher: Teacher, question: ClassQuestion, options: SegmentOptions, progress: Progress
) -> ImagesSummary:
    """A label map and an overlay with legend per image.

    The label map holds class ids as grey values, 8 bits where they suffice, the largest value where the class is unknown.

    Raises:
        ConventionError: no output folder, images whose results would share a name, or no image the teacher knows.
        DataFormatError: an image cannot be read, or results are in the way.
    """
    if options.out is None:
        raise ConventionError("--out", expected="a folder for the label maps", got="none", fix="--out labels")
    started = time.monotonic()
    out = options.out
    stems = [file_stem(name) for name in target.names]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ConventionError("names of the images", expected="different ones without their endings", got=f"{twice} twice")
    if not (options.overwrite or options.resume):
        there = next((path for stem in stems for path in _targets(out, stem) if path.exists()), None)
        if there is not None:
            raise DataFormatError(there, expected="nothing in the way", got="a file", fix="--overwrite, or another --out")
    room = 0 if teacher.name.startswith(FILES_PREFIX) else options.cache_bytes
    cached = CachedTeacher(teacher, out / CACHE_FOLDER, room)
    vocabulary = question.vocabulary
    write_vocabulary(out / VOCABULARY_FILE, vocabulary, teacher=teacher.name)
    rules = PixelRules(options.min_confidence, denoising_threshold=options.prompt_denoising, pamr_steps=options.pamr)
    shares, known, sure, files, lacking = np.zeros(len(vocabulary)), 0.0, 0.0, [], []
    with progress.stage("images", len(stems)) as stage:
        for path, name, stem in zip(target.paths, target.names, stems):
            image = read_image(path)
            field = cached.dense(image, name)
            if field is None:
                lacking.append(name)
            else:
                class_ids, confidence = classify_pixels(
                    field,
                    question,
                    teacher.logit_scale,
                    rules,
                    image,
                )
                own = np.bincount(class_ids[class_ids >= 0], minlength=len(vocabulary)) / class_ids.size
                shares, known = shares + own, known + float(own.sum())
                sure += float(confidence[class_ids >= 0].mean()) if own.any() else 0.0
                labels, overlay = _targets(out, stem)
                picture = overlay_picture(image, class_ids, vocabulary.colors_u8)
                atomic_write_bytes(labels, _grey_png(label_codes(class_ids, len(vocabulary))))
                atomic_write_bytes(overlay, png_bytes(with_legend(picture, vocabulary.names, vocabulary.colors_u8, own.tolist())))
                files += [labels, overlay]
            stage.advance(cached=cached.found)
    done = len(stems) - len(lacking)
    if not done:
        raise ConventionError(f"answers of {teacher.name}", expected=f"one for some image, such as {target.names[0]}", got="none")
    if lacking:
        warnings.warn(
            f"{teacher.name} has nothing for {len(lacking)} images: {', '.join(lacking[:5])}", CaptureWarning, stacklevel=2
        )
    return ImagesSummary(
        folder=out,
        teacher=teacher.name,
        images=done,
        without_answer=len(lacking),
        shares={name: float(share / done) for name, share in zip(vocabulary.names, shares)},
        coverage=known / done,
        mean_confidence=sure / done,
        answers_from_cache=cached.found,
        seconds=time.monotonic() - started,
        files=tuple(files),
    )


def _targets(out: Path, stem: str) -> tuple[Path, Path]:
    return out / f"{stem}_labels.png", out / f"{stem}_overlay.png"


def _grey_png(codes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG")
    return buffer.getvalue()

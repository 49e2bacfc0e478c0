"""What the pixels of a capture tell before training: files that cannot be read, blur, jumps of exposure."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from scenewise.engine.progress import Progress
from scenewise.errors import ScenewiseError
from scenewise.geometry.view_overlap import ViewPairs
from scenewise.io.images import read_image_header
from scenewise.io.views import is_file
from scenewise.scenes.frames import Frame

_WORKING_SIDE = 640  # blur that matters is still seen, and the measure is the same for phones and drones
_PIXEL_BUDGET = 200_000_000  # decoded pixels: a few seconds on two cores
_FEWEST = 24
_BLUR_OF_MEDIAN = 0.25
_BLUR_OF_NEIGHBOURS = 0.4
_EXPOSURE_JUMP = 1.35
_EXPOSURE_OVERLAP = 0.5
_FLOAT_SUFFIXES = (".tif", ".tiff")
_SAME_SIDE_DEG = 50.0  # cameras around an object all overlap; those on its other side show other surfaces


@dataclass(frozen=True)
class UnreadableImage:
    """An image file that exists and cannot be decoded."""

    path: str
    reason: str


@dataclass(frozen=True)
class BlurredImage:
    """A frame that is much softer than the others.

    Attributes:
        name: of the frame.
        sharpness: variance of its Laplacian, relative to the median of the capture.
    """

    name: str
    sharpness: float


@dataclass(frozen=True)
class ExposureJump:
    """A frame that is much lighter or darker than what overlaps it.

    Attributes:
        name: of the frame.
        gain: its brightness divided by that of its neighbours (median over them).
    """

    name: str
    gain: float


@dataclass(frozen=True)
class ImageQuality:
    """Findings about pixels.

    Attributes:
        measured: how many images were decoded.
        unreadable: those that could not be.
        blurred: frames below a quarter of the median sharpness and 0.4 of their neighbours', softest first.
        exposure_jumps: frames 1.35 times lighter or darker than their neighbours, strongest first.
        exposure_spread: ratio of the 90 % to the 10 % quantile of brightness over all frames.
        float_pictures: how many hold floating-point numbers.
    """

    measured: int
    unreadable: tuple[UnreadableImage, ...]
    blurred: tuple[BlurredImage, ...]
    exposure_jumps: tuple[ExposureJump, ...]
    exposure_spread: float
    float_pictures: int = 0


@dataclass(frozen=True)
class _Measured:
    sharpness: float
    brightness: Float64[np.ndarray, "3"]


def image_quality(frames: tuple[Frame, ...], neighbours: ViewPairs, *, threads: int = 2, progress: Progress) -> ImageQuality:
    """Decodes the frames, or an even sample where that would take long, and compares each with the views that overlap it.

    Args:
        frames: with images.
        neighbours: overlapping pairs of these frames.
        threads: workers that decode.
        progress: shows how many are decoded.
    """
    pixels = max(frame.camera.width * frame.camera.height for frame in frames)
    number = min(len(frames), max(_FEWEST, _PIXEL_BUDGET // pixels))
    chosen = np.unique(np.linspace(0, len(frames) - 1, number).round().astype(np.int64))

    def measure(index: int) -> _Measured | UnreadableImage:
        frame = frames[index]
        assert frame.load_image is not None
        try:
            image = frame.load_image()
        except (ScenewiseError, OSError) as error:
            return UnreadableImage(str(frame.image_path or frame.name), str(error))
        gray = working_gray(image)
        return _Measured(laplacian_variance(gray), brightness_quartiles(gray))

    found: dict[int, _Measured] = {}
    unreadable = []
    with ThreadPoolExecutor(max(1, threads)) as pool, progress.stage("reading images", len(chosen)) as stage:
        for index, result in zip(chosen.tolist(), pool.map(measure, chosen.tolist())):
            if isinstance(result, _Measured):
                found[index] = result
            else:
                unreadable.append(result)
            stage.advance()
    return ImageQuality(
        measured=len(chosen),
        unreadable=tuple(unreadable),
        blurred=_blurred(frames, found, neighbours),
        exposure_jumps=_jumps(frames, found, neighbours),
        exposure_spread=_spread(found),
        float_pictures=sum(_has_floats(frames[index]) for index in found),
    )


def _has_floats(frame: Frame) -> bool:
    path = frame.image_path
    return path is not None and path.suffix.lower() in _FLOAT_SUFFIXES and is_file(path) and read_image_header(path).has_floats


def working_gray(image_u8: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "rows columns"]:
    """Luma (Rec. 601) in [0, 1], averaged over whole blocks so that the longer side has at most 640 to 1,279 pixels."""
    gray = image_u8.astype(np.float32) @ (np.array([0.299, 0.587, 0.114], np.float32) / 255)
    block = max(1, max(gray.shape) // _WORKING_SIDE)
    rows, columns = gray.shape[0] // block, gray.shape[1] // block
    if rows == 0 or columns == 0:
        return gray
    return gray[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))


def laplacian_variance(gray: Float32[np.ndarray, "rows columns"]) -> float:
    """Variance of the 4-neighbour Laplacian: low where edges are soft.  0 for pictures below 3×3."""
    if min(gray.shape) < 3:
        return 0.0
    middle = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * middle
    return float(np.var(laplacian, dtype=np.float64))


def brightness_quartiles(gray: Float32[np.ndarray, "rows columns"]) -> Float64[np.ndarray, "3"]:
    """Quartiles of the pixels that are neither clipped nor black; NaN where there are few (an empty background)."""
    usable = gray[(gray > 0.02) & (gray < 0.98)]
    if usable.size < max(64, gray.size // 50):
        return np.full(3, np.nan)
    return np.quantile(usable, [0.25, 0.5, 0.75]).astype(np.float64)


def _partners(index: int, found: dict[int, _Measured], neighbours: ViewPairs, least: float) -> list[int]:
    mine = (neighbours.pairs == index).any(axis=1) & (neighbours.overlap >= least) & (neighbours.angle_deg <= _SAME_SIDE_DEG)
    others = neighbours.pairs[mine].sum(axis=1) - index
    return [other for other in others.tolist() if other in found]


def _blurred(frames: tuple[Frame, ...], found: dict[int, _Measured], neighbours: ViewPairs) -> tuple[BlurredImage, ...]:
    if len(found) < 3:
        return ()
    median = float(np.median([one.sharpness for one in found.values()]))
    result = []
    for index, one in found.items():
        if one.sharpness >= _BLUR_OF_MEDIAN * median:
            continue
        # A view of a bare wall is as smooth as its neighbours; a blurred one is not.
        around = [found[other].sharpness for other in _partners(index, found, neighbours, 0.3)]
        if not around or one.sharpness < _BLUR_OF_NEIGHBOURS * float(np.median(around)):
            result.append(BlurredImage(frames[index].name, one.sharpness / median))
    return tuple(sorted(result, key=lambda one: (one.sharpness, one.name)))


def _jumps(frames: tuple[Frame, ...], found: dict[int, _Measured], neighbours: ViewPairs) -> tuple[ExposureJump, ...]:
    result = []
    for index, one in found.items():
        logs = []
        for other in _partners(index, found, neighbours, _EXPOSURE_OVERLAP):
            ratio = one.brightness / found[other].brightness
            if np.isfinite(ratio).all():
                logs.append(float(np.median(np.log(ratio))))
        if len(logs) >= 2 and abs(float(np.median(logs))) > np.log(_EXPOSURE_JUMP):
            result.append(ExposureJump(frames[index].name, float(np.exp(np.median(logs)))))
    return tuple(sorted(result, key=lambda jump: (-abs(np.log(jump.gain)), jump.name)))


def _spread(found: dict[int, _Measured]) -> float:
    middle = np.array([one.brightness[1] for one in found.values() if np.isfinite(one.brightness[1])])
    if len(middle) == 0:
        return 1.0
    low, high = np.quantile(middle, [0.1, 0.9])
    return float(high / max(low, 1e-6))

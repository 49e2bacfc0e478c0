"""Lifting onto splats and back, through the share w = α·T that each Gaussian has of every pixel.

    features_i = Σ over views and pixels of w_i(p)·F(p)  /  Σ w_i(p)

Nothing is trained and no depth is needed: what hides a Gaussian also takes its share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.lifting.aggregation import ViewLabels
from scenewise.rendering import Backend, gather, render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField

_FIELD_BYTES = 64 << 20  # of a field brought to the camera's size, at a time
_COVERED = 1e-3  # alpha below which a pixel shows nothing


@dataclass(frozen=True)
class GaussianFeatures:
    """What the views say about each Gaussian.

    Attributes:
        values: weighted mean of what its pixels show; zeros where ``weight`` is 0.
        weight: Σ over the views' pixels of α·T: how much of the pictures the Gaussian makes up, in pixels.
    """

    values: Float32[np.ndarray, "n dim"]
    weight: Float32[np.ndarray, "n"]

    def labels(self, minimum_weight: float = 0.0) -> LabelField:
        """The class of largest weight where the columns are class votes.

        Ties go to the lowest class id.  The confidence is that class's share of all votes the Gaussian got.

        Args:
            minimum_weight: Gaussians with no more than this stay unknown.
        """
        total = self.values.sum(axis=1)
        best = self.values.argmax(axis=1)
        valid = (total > 0) & (self.weight > minimum_weight)
        share = np.where(valid, self.values[np.arange(len(best)), best] / np.where(total > 0, total, 1.0), 0.0)
        return LabelField(np.where(valid, best, -1).astype(np.int32), share.clip(0.0, 1.0).astype(np.float32))


def gaussian_features(
    gaussians: Gaussians,
    cameras: Sequence[Cameras] | Cameras,
    fields: Callable[[int], DenseField | Float32[np.ndarray, "height width dim"] | None],
    *,
    unit: bool = False,
    downscale: int = 1,
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> GaussianFeatures:
    """Weighted mean features of Gaussians; see the module's formula.

    Args:
        gaussians: stored parameters.
        cameras: of the views, each without batch axes (or one batch of them).
        fields: what a view shows, by its index: a :class:`DenseField` on any grid or an array of the size the camera has after
            ``downscale``; None leaves the view out.  Asked for once per view, in order.
        unit: scale each mean to length 1.
        downscale: render at 1/downscale of the cameras' size; a grid of features is coarser than the picture anyway.
        backend: of the renderer.
        progress: where to report.

    Raises:
        ConventionError: no view has features, or downscale < 1.
        ShapeError: fields of different numbers of channels or of another size.
    """
    sums, weight = _gathered(gaussians, cameras, fields, downscale, backend, progress)
    divisor = np.linalg.norm(sums, axis=1) if unit else weight
    sums /= np.where(divisor > 0, divisor, 1.0)[:, None]
    return GaussianFeatures(sums, weight)


def gaussian_votes(
    gaussians: Gaussians,
    cameras: Sequence[Cameras] | Cameras,
    label_maps: Callable[[int], ViewLabels | None],
    num_classes: int,
    *,
    downscale: int = 1,
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> GaussianFeatures:
    """Class votes of Gaussians: column c is the weighted share of their pixels that say c.

    Args:
        gaussians: stored parameters.
        cameras: of the views, each without batch axes (or one batch of them).
        label_maps: what is said about a view, by its index; class ids and label fields have the size of the camera's image (the
            nearest pixel is taken after ``downscale``); pixels of an unknown class vote for nothing, a label field's confidence
            is the weight of its vote.
        num_classes: classes in all.
        downscale: render at 1/downscale of the cameras' size.
        backend: of the renderer.
        progress: where to report.

    Raises:
        ConventionError: class ids beyond ``num_classes``, features instead of probabilities, or no view with labels.
        ShapeError: maps of another size.
    """

    def field(view: int) -> DenseField | np.ndarray | None:
        said = label_maps(view)
        if said is None:
            return None
        if isinstance(said, DenseField):
            if said.kind != "probabilities":
                raise ConventionError(f"label map of view {view}", expected="probabilities", got="features", fix="classify them")
            values: DenseField | np.ndarray = said
            classes = said.values.shape[2]
        else:
            values = _one_hot(said, num_classes, view) if isinstance(said, LabelField) or said.ndim == 2 else said
            values = _nearest(np.asarray(values, dtype=np.float32), _size(cameras[view], downscale), cameras[view], view)
            classes = values.shape[2]
        if classes != num_classes:
            raise ShapeError(f"label map of view {view}", expected=f"{num_classes} classes", got=classes)
        return values

    sums, weight = _gathered(gaussians, cameras, field, downscale, backend, progress)
    sums /= np.where(weight > 0, weight, 1.0)[:, None]
    return GaussianFeatures(sums, weight)


def render_scores(
    gaussians: Gaussians,
    camera: Cameras,
    scores: Float32[np.ndarray, "n channels"] | Float[Tensor, "n channels"],
    *,
    normalize: bool = True,
    backend: Backend = "auto",
) -> Float32[np.ndarray, "height width channels"]:
    """Scores of Gaussians as seen by a camera: Σ w·score, the picture of a heat map.

    Args:
        gaussians: stored parameters.
        camera: one camera without batch axes.
        scores: any number of columns.
        normalize: divide by alpha, so that a pixel shows the mean score of what it sees; pixels that see nothing get 0.
        backend: of the renderer.

    Raises:
        ShapeError: another number of rows than Gaussians.
    """
    if len(scores) != len(gaussians):
        raise ShapeError("scores", expected=f"{len(gaussians)} rows, one per Gaussian", got=len(scores))
    means = gaussians.means
    extra = torch.as_tensor(scores).to(device=means.device, dtype=means.dtype)
    with torch.no_grad():
        picture = render(gaussians, camera, sh_degree=0, extra=extra, backend=backend)
        assert picture.extra is not None
        seen, alpha = picture.extra, picture.alpha[..., None]
        if normalize:
            seen = torch.where(alpha > _COVERED, seen / alpha.clamp_min(_COVERED), torch.zeros_like(seen))
    result: np.ndarray = seen.cpu().numpy().astype(np.float32)
    return result


def _gathered(
    gaussians: Gaussians,
    cameras: Sequence[Cameras] | Cameras,
    fields: Callable[[int], DenseField | np.ndarray | None],
    downscale: int,
    backend: Backend,
    progress: Progress | None,
) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]:
    """Σ w·F and Σ w over all views."""
    if downscale < 1:
        raise ConventionError("downscale", expected="1, 2, 4 …", got=downscale)
    sums: Tensor | None = None
    weight = gaussians.means.new_zeros(len(gaussians))
    with (NullProgress() if progress is None else progress).stage("lifting onto splats", len(cameras)) as stage:
        for view in range(len(cameras)):
            field = fields(view)
            if field is not None:
                width, height = _size(cameras[view], downscale)
                camera = cameras[view].resized(width, height)
                dim = field.values.shape[2] if isinstance(field, DenseField) else field.shape[2]
                if sums is None:
                    sums = gaussians.means.new_zeros(len(gaussians), dim)
                if sums.shape[1] != dim:
                    raise ShapeError(f"field of view {view}", expected=f"{sums.shape[1]} channels", got=dim)
                at_once = max(16, _FIELD_BYTES // (4 * height * width))
                for first in range(0, dim, at_once):
                    some = slice(first, min(dim, first + at_once))
                    part = _at_pixels(field, some, height, width, view).to(gaussians.means.device)
                    seen, share = gather(gaussians, camera, part, backend=backend)
                    sums[:, some] += seen
                weight += share
            stage.advance()
    if sums is None:
        raise ConventionError("fields", expected="at least one view", got="none")
    return sums.cpu().numpy().astype(np.float32, copy=False), weight.cpu().numpy().astype(np.float32, copy=False)


def _size(camera: Cameras, downscale: int) -> tuple[int, int]:
    return max(1, camera.width // downscale), max(1, camera.height // downscale)


def _at_pixels(
    field: DenseField | np.ndarray, channels: slice, height: int, width: int, view: int
) -> Float[Tensor, "height width channels"]:
    """Some channels of a field at every pixel's centre."""
    if not isinstance(field, DenseField):
        if field.shape[:2] != (height, width):
            raise ShapeError(f"field of view {view}", expected=f"{height}×{width} pixels", got=f"{field.shape[:2]}")
        return torch.from_numpy(np.ascontiguousarray(field[..., channels], dtype=np.float32))
    cells = torch.from_numpy(np.ascontiguousarray(field.values[..., channels])).permute(2, 0, 1)[None]
    # Both grids cover the whole image, so this is sample_field at every pixel: centres at (i + ½)·stride, constant at the edge.
    pixels = torch.nn.functional.interpolate(cells, size=(height, width), mode="bilinear", align_corners=False)
    return pixels[0].permute(1, 2, 0).contiguous()


def _one_hot(said: LabelField | np.ndarray, num_classes: int, view: int) -> Float32[np.ndarray, "height width classes"]:
    class_ids, confidence = (said.class_ids, said.confidence) if isinstance(said, LabelField) else (said, None)
    if class_ids.size and not (int(class_ids.min()) >= -1 and int(class_ids.max()) < num_classes):
        raise ConventionError(
            f"label map of view {view}", expected=f"−1 … {num_classes - 1}", got=f"{class_ids.min()} … {class_ids.max()}"
        )
    table = np.zeros((*class_ids.shape, num_classes), dtype=np.float32)
    row, column = np.nonzero(class_ids >= 0)
    table[row, column, class_ids[row, column]] = 1.0 if confidence is None else confidence[row, column]
    return table


def _nearest(values: np.ndarray, size: tuple[int, int], camera: Cameras, view: int) -> np.ndarray:
    """Pixels of a map of the camera's full size that a smaller picture's centres fall on."""
    if values.shape[:2] != (camera.height, camera.width):
        raise ShapeError(f"label map of view {view}", expected=f"{camera.height}×{camera.width}", got=f"{values.shape[:2]}")
    width, height = size
    if (width, height) == (camera.width, camera.height):
        return values
    rows = ((np.arange(height) + 0.5) * camera.height / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * camera.width / width).astype(np.int64)
    return np.ascontiguousarray(values[rows[:, None], columns[None, :]])

"""Lifting onto Gaussians through their share of the pixels, and back into pictures."""

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.splats import SplatInput
from scenewise.kernels.splats.reference import _blend, project
from scenewise.parts.lifting import gaussian_features, gaussian_votes, render_scores, sample_field
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField

WIDTH, HEIGHT = 24, 18


def scene(n: int = 40, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(normal(n, 3), normal(n, 3) * 0.4 - 1.8, normal(n, 4), normal(n) + 1, normal(n, 1, 3), normal(n, 3, 3))


def cameras(count: int = 3) -> Cameras:
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i in range(count):
        angle = torch.tensor(0.5 * i)
        poses[i, 0, 0], poses[i, 0, 2], poses[i, 2, 0], poses[i, 2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
        poses[i, :3, 3] = torch.tensor([0.1 * i, -0.1, 4.0])
    K = torch.tensor([[26.0, 0.0, 12.5], [0.0, 25.0, 8.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(poses, K.repeat(count, 1, 1), WIDTH, HEIGHT)


def weights_of(gaussians: Gaussians, camera: Cameras) -> np.ndarray:
    """α·T of every Gaussian at every pixel [n, height, width], from the reference kernel's blending, in float64."""
    stored = [gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.logit_opacities, gaussians.sh0, gaussians.shN]
    means, quats, scales, opacities, sh0, shN = (tensor.double() for tensor in stored)
    splats = SplatInput(
        means, quats, scales, opacities, sh0, shN, 0, None, camera.camera_from_world, camera.K, camera.near,
        camera.width, camera.height, torch.zeros(3, dtype=torch.float64), True, None, False,
    )  # fmt: skip
    projected = project(splats)
    order = torch.argsort(projected.depths, stable=True)
    order = order[projected.visible[order]]
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    blended, _ = _blend(projected, order, torch.stack([x, y], -1).view(-1, 2).double(), None)
    weights = np.zeros((len(gaussians), camera.height * camera.width))
    weights[order.numpy()] = blended.T.numpy()
    return weights.reshape(-1, camera.height, camera.width)


def test_features_are_the_weighted_mean_of_the_pixels():
    gaussians, views = scene(), cameras()
    rng = np.random.default_rng(0)
    fields = [DenseField(rng.normal(size=(4, 5, 21)).astype(np.float32), HEIGHT, WIDTH) for _ in range(3)]
    rows, columns = (index.ravel() for index in np.indices((HEIGHT, WIDTH)))
    sums, total = np.zeros((40, 21)), np.zeros(40)
    for view in (0, 2):
        weights = weights_of(gaussians, views[view]).reshape(40, -1)
        sums += weights @ sample_field(fields[view], rows, columns)
        total += weights.sum(1)
    found = gaussian_features(gaussians, views, lambda v: fields[v] if v != 1 else None)
    np.testing.assert_allclose(found.weight, total, atol=1e-3)
    seen = total > 0.01
    assert seen.sum() > 30
    np.testing.assert_allclose(found.values[seen], (sums / np.maximum(total, 1e-9)[:, None])[seen], atol=1e-3)
    unit = gaussian_features(gaussians, views, lambda v: fields[v] if v != 1 else None, unit=True)
    np.testing.assert_allclose(np.linalg.norm(unit.values[seen], axis=1), 1.0, atol=1e-5)


def test_a_constant_field_comes_back_unchanged_at_any_resolution():
    field = DenseField(np.full((3, 4, 7), 2.5, np.float32), HEIGHT, WIDTH)
    for downscale in (1, 2):
        found = gaussian_features(scene(), [cameras()[0]], lambda v: field, downscale=downscale)
        np.testing.assert_allclose(found.values[found.weight > 1e-3], 2.5, rtol=1e-4)


def test_votes_follow_labels_and_their_confidence():
    """Left half of the picture is class 2, right half class 0, the lowest rows unknown."""
    gaussians, views = scene(), cameras(1)
    said = np.zeros((HEIGHT, WIDTH), np.int32)
    said[:, : WIDTH // 2], said[-4:] = 2, -1
    weights = weights_of(gaussians, views[0])
    right = weights[:, :-4, WIDTH // 2 :].sum((1, 2))
    left = weights[:, :-4, : WIDTH // 2].sum((1, 2))
    found = gaussian_votes(gaussians, views, lambda v: said, 4)
    np.testing.assert_allclose(found.values * found.weight[:, None], np.stack([right, 0 * right, left, 0 * right], 1), atol=1e-3)
    labels = found.labels(minimum_weight=0.05)
    clear = np.abs(left - right) > 0.1
    assert clear.sum() > 25
    np.testing.assert_array_equal(labels.class_ids[clear], np.where(left > right, 2, 0)[clear])
    np.testing.assert_allclose(labels.confidence[clear], np.maximum(left, right)[clear] / (left + right)[clear], atol=1e-3)
    sure = LabelField(said, np.where(said == 2, 0.25, (said >= 0).astype(float)).astype(np.float32))
    weighted = gaussian_votes(gaussians, views, lambda v: sure, 4)
    np.testing.assert_allclose(weighted.values[:, 2], found.values[:, 2] / 4, atol=1e-5)
    soft = np.eye(4, dtype=np.float32)[np.maximum(said, 0)] * (said >= 0)[..., None]
    np.testing.assert_allclose(gaussian_votes(gaussians, views, lambda v: soft, 4).values, found.values, atol=1e-6)
    half = gaussian_votes(gaussians, views, lambda v: said, 4, downscale=2).labels(minimum_weight=0.05)
    assert (half.class_ids == labels.class_ids)[clear].mean() > 0.8


def test_scores_are_rendered_as_weighted_means():
    gaussians, camera = scene(), cameras()[1]
    scores = np.random.default_rng(3).random((40, 19)).astype(np.float32)
    weights = weights_of(gaussians, camera)
    alpha = weights.sum(0)
    expected = np.einsum("nhw,nc->hwc", weights, scores)
    np.testing.assert_allclose(render_scores(gaussians, camera, scores, normalize=False), expected, atol=1e-4)
    picture = render_scores(gaussians, camera, scores)
    covered = alpha > 0.05
    assert covered.sum() > 100
    np.testing.assert_allclose(picture[covered], (expected / np.maximum(alpha, 1e-9)[..., None])[covered], atol=1e-3)
    assert picture[alpha == 0].max(initial=0.0) == 0.0 and picture.max() <= scores.max() + 1e-3


def test_what_is_lifted_can_be_rendered_back():
    """A label map lifted from a view and rendered into it again names most pixels as before."""
    gaussians, views = scene(400, seed=2), cameras(1)
    said = (np.indices((HEIGHT, WIDTH)).sum(0) // 14).astype(np.int32)
    votes = gaussian_votes(gaussians, views, lambda v: said, 3)
    back = render_scores(gaussians, views[0], votes.values)
    covered = back.sum(-1) > 0.5
    assert covered.mean() > 0.5
    assert (back.argmax(-1) == said)[covered].mean() > 0.7


@pytest.mark.errors
def test_what_is_refused():
    gaussians, views = scene(), cameras(2)
    with pytest.raises(ConventionError, match="at least one view"):
        gaussian_features(gaussians, views, lambda v: None)
    with pytest.raises(ConventionError, match="downscale"):
        gaussian_features(gaussians, views, lambda v: None, downscale=0)
    with pytest.raises(ShapeError, match="field of view 1"):
        gaussian_features(gaussians, views, lambda v: DenseField(np.ones((2, 2, 3 + v), np.float32), HEIGHT, WIDTH))
    with pytest.raises(ShapeError, match="label map of view 0"):
        gaussian_votes(gaussians, views, lambda v: np.zeros((3, 4), np.int32), 2)
    with pytest.raises(ConventionError, match="label map of view 0"):
        gaussian_votes(gaussians, views, lambda v: np.full((HEIGHT, WIDTH), 5, np.int32), 2)
    with pytest.raises(ShapeError, match="one per Gaussian"):
        render_scores(gaussians, views[0], np.zeros((3, 2), np.float32))

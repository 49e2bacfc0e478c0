"""Baked Gaussians are what the views decode: exactly where the direction says nothing, else in the mean that is promised."""

import math

import pytest
import torch
from tests.support.fabricated_capture import arc_camera
from tests.support.small_anchors import (
    CHANNELS,
    SLOTS,
    blind_to_direction,
    first_layer,
    plain_heads,
    random_anchors,
    random_heads,
    same_bits,
    second_layer,
)
from torch import Tensor

from scenewise.geometry.rotations import rotation_from_quat
from scenewise.geometry.spherical_harmonics import Y00, sh_basis
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors import baking
from scenewise.parts.splats.anchors.baking import BakeSettings, baked
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras

CAMERAS = [arc_camera(angle, 48, 32) for angle in (-0.6, -0.2, 0.1, 0.7)]
AROUND = [arc_camera(2.0 * math.pi * turn / 9 + 0.1, 48, 32) for turn in range(9)]
ALL = BakeSettings(faintest=0.0)


def _leaning_heads(towards: tuple[float, float, float]) -> DecoderHeads:
    """Heads that colour red, and half as much green, by a linear function of the direction before the sigmoid."""
    heads = plain_heads(color=0.0)
    weights = first_layer(heads.color)
    weights[0, CHANNELS:], weights[1, CHANNELS:] = torch.tensor(towards), -torch.tensor(towards)  # relu(x) − relu(−x) = x
    last = second_layer(heads.color, "color")[0].view(SLOTS, 3, -1)
    last[:, 0, :2], last[:, 1, :2] = torch.tensor([1.0, -1.0]), torch.tensor([0.5, -0.5])
    return heads


def _turning_heads() -> DecoderHeads:
    """Heads whose quaternions change sign from the right to the left, and a little more than that."""
    heads = plain_heads()
    weights = first_layer(heads.covariance)
    weights[0, CHANNELS], weights[1, CHANNELS] = 5.0, -5.0
    second_layer(heads.covariance, "covariance")[1].view(SLOTS, 7)[:, 3:] = torch.tensor([0.0, 0.0, 0.4, 0.0])
    last = second_layer(heads.covariance, "covariance")[0].view(SLOTS, 7, -1)
    last[:, 3:, :2] = torch.tensor([1.0, 0.3, -0.2, 0.1])[:, None] * torch.tensor([1.0, -1.0])
    return heads


@pytest.mark.parametrize("degree", [0, 2, 3])
def test_a_decoder_that_ignores_the_direction_bakes_to_what_it_decodes(degree: int) -> None:
    anchors, heads = random_anchors(60), blind_to_direction(random_heads(1))
    found = baked(anchors, heads, CAMERAS, BakeSettings(sh_degree=degree, faintest=0.0))
    assert found.gaussians.sh_degree == degree
    for camera in (*CAMERAS, arc_camera(0.35, 48, 32)):
        decoded = decoded_anchors(anchors, heads, camera)
        pictures = [render(gaussians, camera).color for gaussians in (decoded.gaussians, found.gaussians)]
        assert float((pictures[0] - pictures[1]).abs().max()) < 1e-3 and float(pictures[0].mean()) > 0.05
        # Children that can be seen from nowhere are missing; the others are where and what the view decodes.
        distance, same = torch.cdist(found.gaussians.means.double(), decoded.gaussians.means.double()).min(dim=1)
        assert decoded.row_of is not None and torch.equal(found.row_of, decoded.row_of[same])
        assert float(distance.max()) < 1e-6 and len(decoded.gaussians) - 4 <= len(found.gaussians) <= len(decoded.gaussians)
        torch.testing.assert_close(found.gaussians.log_scales, decoded.gaussians.log_scales[same], rtol=0, atol=1e-4)
        opacities = [found.gaussians.logit_opacities.sigmoid(), decoded.gaussians.logit_opacities[same].sigmoid()]
        assert float(opacities[0].mean()) == pytest.approx(float(opacities[1].mean()), abs=1e-4)


def _by_loops(
    anchors: Anchors, heads: DecoderHeads, cameras: list[Cameras], degree: int
) -> dict[tuple[int, int], dict[str, Tensor]]:
    """What each child that is seen is baked to, by row and slot."""
    looks: dict[tuple[int, int], list[float]] = {}
    seen: dict[tuple[int, int], list[tuple[float, Tensor, Tensor, Tensor, Tensor]]] = {}
    for camera in cameras:
        decoded = decoded_anchors(anchors, heads, camera)
        contribution = render(decoded.gaussians, camera, contribution=True).contribution
        assert contribution is not None and decoded.visible is not None and decoded.opacities is not None
        assert decoded.row_of is not None and decoded.slot_of is not None
        for place, row in enumerate(decoded.visible.tolist()):
            for slot in range(SLOTS):
                looks.setdefault((row, slot), []).append(max(0.0, float(decoded.opacities[place, slot])))
        for child, key in enumerate(zip(decoded.row_of.tolist(), decoded.slot_of.tolist())):
            weight, one = float(contribution.weight_sum[child]), decoded.gaussians.select(torch.tensor([child]))
            if weight > 0.0:
                away = torch.nn.functional.normalize(one.means[0].double() - camera.centers_in_world, dim=0)
                shown = 0.5 + Y00 * one.sh0[0, 0].double()
                seen.setdefault(key, []).append((weight, away, shown, one.log_scales[0].double(), one.quats[0].double()))
    found = {}
    for key, views in seen.items():
        total = sum(view[0] for view in views)
        basis = torch.stack([math.sqrt(view[0]) * sh_basis(view[1], degree) for view in views])
        right = torch.stack([math.sqrt(view[0]) * (view[2] - 0.5) for view in views])
        pull = total * torch.diag(torch.tensor([1e-6, *[baking._RIDGE] * (basis.shape[1] - 1)], dtype=torch.float64))
        mean_opacity = sum(looks[key]) / len(looks[key])
        # Of ±q the one that agrees with what was summed so far.
        quat = torch.zeros(4, dtype=torch.float64)
        for weight, _, _, _, turn in views:
            quat = quat + weight * (-turn if float(quat @ turn) < 0.0 else turn)
        found[key] = {
            "weight": torch.tensor(total),
            "opacity": torch.tensor(min(max(mean_opacity, 1 / 255), 1 - 1e-4)),
            "log_scales": sum((view[0] * view[3] for view in views), torch.zeros(3, dtype=torch.float64)) / total,
            "rotation": rotation_from_quat(quat / quat.norm()),
            "harmonics": torch.linalg.solve(basis.T @ basis + pull, basis.T @ right),
        }
    return found


@pytest.mark.parametrize("kind", ["random", "turning"])
def test_each_child_is_the_mean_that_is_promised(kind: str) -> None:
    anchors, faintest = random_anchors(25, seed=4), 0.5
    heads, cameras = (random_heads(4), CAMERAS) if kind == "random" else (_turning_heads(), AROUND)
    expected = _by_loops(anchors, heads, cameras, 1)
    found = baked(anchors, heads, cameras, BakeSettings(sh_degree=1, faintest=faintest))
    kept = sorted(key for key, value in expected.items() if float(value["weight"]) > faintest)
    assert 10 < len(kept) < len(expected) + (kind == "turning") and [row for row, _ in kept] == found.row_of.tolist()
    gaussians = found.gaussians
    rotations = rotation_from_quat(gaussians.quats)
    changed = 0.0
    for index, (row, slot) in enumerate(kept):
        value = expected[row, slot]
        mean = anchors.positions[row] + anchors.offsets[row, slot] * anchors.log_scales[row, :3].exp()
        torch.testing.assert_close(gaussians.means[index], mean)
        assert float(gaussians.logit_opacities[index].sigmoid()) == pytest.approx(float(value["opacity"]), rel=1e-4)
        torch.testing.assert_close(gaussians.log_scales[index].double(), value["log_scales"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rotations[index].double(), value["rotation"], rtol=1e-3, atol=1e-3)
        harmonics = torch.cat([gaussians.sh0[index], gaussians.shN[index]])
        torch.testing.assert_close(harmonics.double(), value["harmonics"], rtol=1e-3, atol=5e-4)
        changed = max(changed, float(harmonics[1:].abs().max()))
    assert changed > 0.03 or kind == "turning"  # colours of these heads do depend on the direction


def _color_error(anchors: Anchors, heads: DecoderHeads, degree: int) -> float:
    """Largest error of a child's colour in any view that may see it."""
    found = baked(anchors, heads, AROUND, BakeSettings(sh_degree=degree, faintest=0.0))
    harmonics = torch.cat([found.gaussians.sh0, found.gaussians.shN], dim=1)
    worst = 0.0
    for camera in AROUND:
        decoded = decoded_anchors(anchors, heads, camera)
        away = torch.nn.functional.normalize(found.gaussians.means - camera.centers_in_world.float(), dim=1)
        shown = 0.5 + torch.einsum("nb,nbc->nc", sh_basis(away, degree), harmonics)
        assert len(shown) == len(decoded.gaussians)
        worst = max(worst, float((shown - 0.5 - Y00 * decoded.gaussians.sh0[:, 0]).abs().max()))
    return worst


def test_colours_that_are_linear_in_the_direction_take_harmonics_of_degree_1(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    few = random_anchors(12, scale=0.03)
    spread = torch.stack([torch.linspace(-0.8, 0.8, 12), torch.zeros(12), 0.2 * torch.rand(12, generator=generator)], dim=1)
    anchors = Anchors(spread, 0.1 * few.offsets, few.features, few.log_scales)
    heads = _leaning_heads((0.5, 0.0, -0.25))  # of the sigmoid's bend no more than 0.003 is left
    flat, pulled = (_color_error(anchors, heads, degree) for degree in (0, 1))
    assert flat > 0.08 and pulled < 0.6 * flat
    monkeypatch.setattr(baking, "_RIDGE", 1e-6)  # nothing pulls the coefficients towards zero any more
    assert _color_error(anchors, heads, 1) < 0.006
    found = baked(anchors, heads, AROUND, BakeSettings(sh_degree=1, faintest=0.0)).gaussians
    # colour − ½ ≈ (0.5x − 0.25z) / 4 in red, half of it in green; the harmonics are −y, z and −x
    red = torch.tensor([-0.25 / 4.0, -0.5 / 4.0]) / 0.4886025
    for channel, share in ((0, 1.0), (1, 0.5), (2, 0.0)):
        slopes = found.shN[:, 1:, channel].median(dim=0).values
        torch.testing.assert_close(slopes, share * red, rtol=0.05, atol=2e-3)


def test_parts_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors, heads = random_anchors(50), random_heads(2)
    whole = baked(anchors, heads, CAMERAS, ALL)
    monkeypatch.setattr(baking, "_ANCHORS_AT_ONCE", 7)
    parted = baked(anchors, heads, CAMERAS, ALL)
    assert torch.equal(whole.row_of, parted.row_of)
    for name, value in vars(whole.gaussians).items():
        torch.testing.assert_close(getattr(parted.gaussians, name), value, rtol=1e-4, atol=1e-4)


def test_evenly_spaced_views_are_looked_at() -> None:
    anchors, heads = random_anchors(20), random_heads(2)
    for most, chosen in ((9, range(9)), (5, range(0, 9, 2)), (4, range(0, 9, 3)), (1, range(1))):
        settings = BakeSettings(most_views=most)
        found, alone = baked(anchors, heads, AROUND, settings), baked(anchors, heads, [AROUND[index] for index in chosen])
        assert same_bits(vars(found.gaussians), vars(alone.gaussians))


def test_children_that_nobody_sees_are_left_out() -> None:
    anchors, heads = random_anchors(20), plain_heads()
    far = Anchors(anchors.positions + 500.0, anchors.offsets, anchors.features, anchors.log_scales)
    assert len(baked(far, heads, CAMERAS).gaussians) == 0
    faint = baked(anchors, plain_heads(opacity=-1.0), CAMERAS)
    assert len(faint.gaussians) == 0 and len(faint.row_of) == 0
    assert len(baked(anchors, heads, CAMERAS, BakeSettings(faintest=1e9)).gaussians) == 0

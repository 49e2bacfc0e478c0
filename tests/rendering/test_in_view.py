"""Gaussians in view: what is left out changes no pixel, and nothing that is far outside is kept."""

from pathlib import Path

import pytest
import torch

from scenewise.io.ply.gaussians import open_gaussians_ply, write_gaussians_ply
from scenewise.rendering import render
from scenewise.rendering.in_view import in_view, seen_by
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians


def all_around(n: int, seed: int, size: float) -> Gaussians:
    """Flat, long and round ones in all directions; a few next to the camera, and one behind the lens."""
    generator = torch.Generator().manual_seed(seed)
    means = 4.0 * torch.randn(n, 3, generator=generator)
    means[: n // 10] *= 0.1
    return Gaussians(
        means=means,
        log_scales=torch.tensor(size).log() + torch.randn(n, 3, generator=generator),
        quats=torch.randn(n, 4, generator=generator),
        logit_opacities=3.0 * torch.randn(n, generator=generator),
        sh0=torch.randn(n, 1, 3, generator=generator),
        shN=0.2 * torch.randn(n, 3, 3, generator=generator),
    )


def looking(seed: int) -> Cameras:
    """Off-centre, with pixels of two shapes, turned anyhow."""
    generator = torch.Generator().manual_seed(100 + seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = turn * torch.sign(torch.linalg.det(turn))
    pose[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    K = torch.tensor([[40.0, 0.0, 37.0], [0.0, 55.0, 11.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(pose, K, 48, 32)


@pytest.mark.parametrize("size", [0.003, 0.1, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_out_changes_no_pixel(seed: int, size: float) -> None:
    gaussians, camera = all_around(3_000, seed, size), looking(seed)
    seen = in_view(gaussians, camera)
    whole, part = render(gaussians, camera), render(seen, camera)
    assert float(whole.alpha.max()) > 0.1
    for name in ("color", "alpha", "depth"):
        assert torch.equal(getattr(whole, name), getattr(part, name)), name
    drawn = int((whole.radii > 0).sum())
    assert drawn <= len(seen) < 0.7 * len(gaussians)


def test_it_keeps_few_that_are_not_drawn() -> None:
    gaussians, camera = all_around(20_000, 7, 0.02), looking(7)
    drawn = int((render(gaussians, camera).radii > 0).sum())
    assert drawn <= len(in_view(gaussians, camera)) < 2.5 * drawn


def test_it_reads_a_file_block_by_block_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenewise.rendering.in_view._ROWS", 700)
    gaussians, camera = all_around(3_000, 1, 0.1), looking(1)
    write_gaussians_ply(tmp_path / "splats.ply", gaussians)
    stored = open_gaussians_ply(tmp_path / "splats.ply")
    seen = in_view(stored, camera)
    for name, value in vars(in_view(gaussians, camera)).items():
        assert torch.equal(getattr(seen, name), value), name


def test_room_decides_who_is_in_memory() -> None:
    gaussians, camera = all_around(3_000, 2, 0.1), looking(2)
    assert seen_by(gaussians)(camera) is not None and len(seen_by(gaussians)(camera)) == 3_000
    assert len(seen_by(gaussians, room=3_000 * 400)(camera)) == 3_000
    assert len(seen_by(gaussians, room=3_000 * 100)(camera)) == len(in_view(gaussians, camera)) < 3_000


def test_no_gaussians_at_all() -> None:
    nothing = all_around(3, 0, 0.1).select(torch.zeros(3, dtype=torch.bool))
    assert len(in_view(nothing, looking(0))) == 0

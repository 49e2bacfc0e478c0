"""Pictures against photographs."""

import math

import numpy as np
import pytest
import torch

from scenewise.geometry.orbits import look_at
from scenewise.metrics.photographs import likeness
from scenewise.metrics.ssim import ssim
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame

PHOTOGRAPH_U8 = np.random.default_rng(0).integers(10, 240, (24, 20, 3)).astype(np.uint8)


def frame(mask: np.ndarray | None = None) -> Frame:
    pose = torch.from_numpy(look_at(np.array([0.0, -3.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 1.0])))
    camera = Cameras(torch.linalg.inv(pose), torch.eye(3, dtype=torch.float64), 20, 24)
    return Frame("a.png", camera, load_image=lambda: PHOTOGRAPH_U8, load_mask=None if mask is None else lambda: mask)


def test_psnr_and_ssim_by_their_definitions() -> None:
    truth = torch.from_numpy(PHOTOGRAPH_U8 / np.float32(255.0))
    picture = (truth + 0.1 * torch.linspace(-1.0, 1.0, 24)[:, None, None]).clamp(0.0, 1.0)
    ratio, similarity = likeness(picture, frame())
    assert ratio == pytest.approx(-10.0 * math.log10(float((picture - truth).square().mean())), abs=1e-4)
    assert similarity == pytest.approx(ssim(picture, truth), abs=1e-6)


def test_what_a_mask_hides_does_not_count() -> None:
    truth = torch.from_numpy(PHOTOGRAPH_U8 / np.float32(255.0))
    seen = np.ones((24, 20), dtype=bool)
    seen[:7] = False
    picture = truth.clone()
    picture[7:] += 0.01
    wrong = picture.clone()
    wrong[:7] = 0.9
    assert likeness(picture, frame(seen)) == likeness(wrong, frame(seen))
    assert likeness(picture, frame(seen))[0] == pytest.approx(40.0, abs=1e-3)
    assert likeness(wrong, frame())[0] < 20.0

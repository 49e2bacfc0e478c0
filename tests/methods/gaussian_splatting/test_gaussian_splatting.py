"""The method as a composition of parts: settings, caps, resume, and a shrunken run that learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture

from scenewise.engine.checkpoints import Checkpointer
from scenewise.errors import ConventionError
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.metrics.psnr import psnr
from scenewise.parts.splats.building import build_trainer, thinned
from scenewise.parts.splats.recipes import FAST, FAST_MCMC, PAPER_30K, PAPER_30K_MCMC, SplatRecipe, with_cap
from scenewise.parts.splats.strategies import DefaultStrategy, McmcStrategy
from scenewise.rendering import render
from scenewise.scenes.point_clouds import PointCloud


@pytest.mark.parametrize("config", [FAST, FAST_MCMC], ids=["default", "mcmc"])
def test_a_shrunken_run_learns_and_saves_what_it_learned(config: SplatRecipe, tmp_path: Path) -> None:
    capture = fabricated_capture(views=12, with_depth=True)
    assert capture.points is not None and capture.points.colors_u8 is not None
    few = PointCloud(capture.points.points_in_world[::3], capture.points.colors_u8[::3])
    shrunken = with_cap(replace(config, steps=250), 240)
    trainer = build_trainer(capture, few, shrunken, seed=1)
    losses: list[float] = []
    trainer.run(listener=lambda report: losses.append(report.loss), report_every=1, save=Checkpointer(tmp_path).save)
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])

    def held_out() -> list[float]:
        figures = []
        for frame in capture.test_frames:
            assert frame.load_image is not None
            with torch.no_grad():
                image = render(trainer.field.gaussians(), frame.camera).color
            figures.append(psnr(image, torch.from_numpy(frame.load_image() / np.float32(255))))
        return figures

    assert np.mean(held_out()) > FLOORS[type(shrunken.strategy).__name__]
    found = Checkpointer(tmp_path).latest()
    resumed = build_trainer(capture, None, shrunken, seed=1, resume_from=found)
    for name in trainer.field.store:
        assert torch.equal(trainer.field.store[name], resumed.field.store[name])


FLOORS = {"DefaultStrategy": 22.5, "McmcStrategy": 22.5}  # four seeds: 23.6 to 24.3 dB and 23.8 to 24.3 dB


def test_presets_hold_the_papers_values() -> None:
    assert PAPER_30K.steps == 30_000 and PAPER_30K.dssim_weight == 0.2 and PAPER_30K.initial_opacity == 0.1
    strategy = PAPER_30K.strategy
    assert isinstance(strategy, DefaultStrategy)
    assert (strategy.refine_from, strategy.refine_until, strategy.refine_every, strategy.reset_every) == (500, 15_000, 100, 3_000)
    assert (strategy.grow_gradient, strategy.grow_scale, strategy.prune_opacity, strategy.prune_scale) == (2e-4, 0.01, 0.005, 0.1)
    rates = PAPER_30K.learning_rates
    assert (rates.means, rates.means_end, rates.sh0, rates.shN) == (1.6e-4, 1.6e-6, 2.5e-3, 1.25e-4)
    assert (rates.opacities, rates.scales, rates.quats) == (2.5e-2, 5e-3, 1e-3)
    mcmc = PAPER_30K_MCMC.strategy
    assert isinstance(mcmc, McmcStrategy)
    assert (mcmc.max_gaussians, mcmc.noise, mcmc.refine_until, mcmc.growth) == (1_000_000, 5e5, 25_000, 0.05)
    assert (mcmc.opacity_penalty, mcmc.scale_penalty) == (0.01, 0.01)
    assert PAPER_30K_MCMC.initial_opacity == 0.5 and PAPER_30K_MCMC.initial_scale == 0.1


def test_presets_by_name() -> None:
    assert preset("fast") == FAST and preset("fast", strategy="mcmc") == FAST_MCMC
    assert preset("paper_30k", data_set="mipnerf360") == replace(PAPER_30K, depth=None)
    with pytest.raises(KeyError):
        preset("nothing")


def test_caps_thin_the_initial_points_and_none_keeps_the_strategys_own() -> None:
    capture = fabricated_capture()
    assert with_cap(FAST, None) == FAST
    trainer = build_trainer(capture, capture.points, with_cap(FAST, 40))
    assert len(trainer.field.store) == 40
    assert capture.points is not None
    kept = thinned(capture.points, 40, torch.Generator().manual_seed(0))
    rows = {tuple(row) for row in capture.points.points_in_world.tolist()}
    assert len(kept) == 40 and all(tuple(row) in rows for row in kept.points_in_world.tolist())


def test_points_or_a_checkpoint_are_needed_and_the_checkpoint_must_be_of_this_run(tmp_path: Path) -> None:
    capture = fabricated_capture()
    with pytest.raises(ConventionError, match="initial points or a checkpoint"):
        build_trainer(capture, None, FAST)
    config = replace(FAST, steps=20)
    trainer = build_trainer(capture, capture.points, config, data_hash="a")
    trainer.run(until=3, save=Checkpointer(tmp_path).save)
    found = Checkpointer(tmp_path).latest()
    with pytest.raises(ConventionError, match="resume: option dssim_weight"):
        build_trainer(capture, None, replace(config, dssim_weight=0.5), data_hash="a", resume_from=found)
    with pytest.raises(ConventionError, match="resume: the capture"):
        build_trainer(capture, None, config, data_hash="b", resume_from=found)

"""The method as a composition of parts: settings, caps, resume, and a shrunken run that learns; experiments and claims."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.fabricated_capture import fabricated_capture

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.experiments import (
    Arm,
    Claim,
    Outcome,
    Results,
    claims_table,
    paired_claim,
    results_json,
    results_table,
    run_arm,
    t_interval,
    threshold_claim,
    with_generated_section,
)
from scenewise.errors import ConventionError
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.metrics.psnr import psnr
from scenewise.parts.splats.building import build_trainer, thinned
from scenewise.parts.splats.recipes import FAST, FAST_MCMC, PAPER_30K, PAPER_30K_MCMC, SplatRecipe, with_cap
from scenewise.parts.splats.strategies import DefaultStrategy, McmcStrategy
from scenewise.rendering import render
from scenewise.scenes.point_clouds import PointCloud

ROOT = Path(__file__).parents[3]


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


# --- experiments -------------------------------------------------------------------------------------------------------------


def test_outcomes_are_kept_per_arm_seed_and_configuration(tmp_path: Path) -> None:
    ran: list[int] = []

    def run(seed: int) -> Outcome:
        ran.append(seed)
        return Outcome({"psnr": 30.0 + seed}, 10, 5, 1.5, 99)

    first = run_arm(Arm("a", {"steps": 1}, run), [0, 1], tmp_path)
    assert run_arm(Arm("a", {"steps": 1}, run), [0, 1], tmp_path) == first and ran == [0, 1]
    run_arm(Arm("a", {"steps": 2}, run), [1], tmp_path)
    assert ran == [0, 1, 1]
    claim = threshold_claim("x", "words", [outcome.metrics["psnr"] for outcome in first], 31.0)
    content = results_json(Results("m", "psnr", {"a": [0, 1]}, {"a": first}, [claim], 2.0))
    assert content["arms"]["a"]["mean"] == 30.5 and content["arms"]["a"]["std"] == pytest.approx(0.5**0.5)
    assert content["claims"][0] | {"interval": None} == asdict(claim) | {"interval": None} and not claim.holds
    assert "30.5, not 31" in str(claim.why)
    json.dumps(content, allow_nan=False)


def test_paired_claims_need_the_mean_and_every_sign() -> None:
    assert paired_claim("x", "w", [2.0, 3.0], [1.0, 1.0], at_least=1.2).holds
    assert not paired_claim("x", "w", [2.0, 3.0], [1.0, 1.0], at_least=1.6).holds
    assert not paired_claim("x", "w", [9.0, 0.9], [1.0, 1.0], at_least=1.0).holds
    assert paired_claim("x", "w", [2.0], [1.0]).interval is None
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval is not None and interval[0] == pytest.approx(2 - 4.302653 / 3**0.5, rel=1e-5)
    with pytest.raises(ConventionError, match="as many seeds"):
        paired_claim("x", "w", [2.0], [1.0, 2.0])


def test_claims_are_shown_with_every_difference_and_the_interval() -> None:
    claims = [
        paired_claim("better", "a over b", [2.0, 3.0, 4.0], [1.0, 1.0, 1.0]),
        threshold_claim("reaches", "thirty", [29.0, 30.5], 30.0),
        Claim("missing", "left out", False, [], 0.0, None, "not run"),
    ]
    rows = claims_table({"claims": [asdict(claim) for claim in claims]}).splitlines()
    assert rows[2] == "| `better`: a over b | +2.00 (-0.48 … +4.48) | 1.00, 2.00, 3.00 | yes |"
    assert rows[3].startswith("| `reaches`: thirty | -0.25 (-9.78 … +9.28) | 29.00, 30.50 | no: the mean over 2 seeds")
    assert rows[4] == "| `missing`: left out | – | – | no: not run |"


def test_reproduce_quick(tmp_path: Path) -> None:
    """``make reproduce METHOD=gaussian_splatting QUICK=1`` writes every claim, and keeps what it has run."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in paths if path), OMP_NUM_THREADS="1")
    script = ROOT / "benchmarks" / "reproduce" / "gaussian_splatting.py"
    out = tmp_path / "results.json"
    command = [sys.executable, str(script), "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    claims = {claim["id"]: claim["holds"] for claim in results["claims"]}
    assert claims["mcmc_exact_budget"] and claims["resume_bit_exact"]
    assert {"fox_31db_90s", "lego_32db_5min"} <= claims.keys()
    assert results["arms"]["room"]["mean"] > 15
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "kept from before" in again.stdout


def test_readme_table_is_the_results_file() -> None:
    root = Path(__file__).resolve().parents[3]
    content = json.loads((root / "docs" / "results" / "gaussian_splatting.json").read_text(encoding="utf-8"))
    readme = (root / "src" / "scenewise" / "methods" / "gaussian_splatting" / "README.md").read_text(encoding="utf-8")
    assert with_generated_section(readme, results_table(content)) == readme, "run make reproduce METHOD=gaussian_splatting"

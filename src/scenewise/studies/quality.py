"""Quality within a training time, on real captures and on the procedural room, through the ordinary commands.

    python -m scenewise.studies quality [ARM ...] [--seeds 0 1 2] [--json]

Real captures are looked for in the folder named by SCENEWISE_DATA; arms whose capture is missing are left out and named.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tyro.conf import Positional

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.engine.progress import NullProgress, console_progress
from scenewise.errors import ConventionError
from scenewise.io.images import image_u8_from_color
from scenewise.io.scene_folder import read_scene
from scenewise.methods.gaussian_splatting.config import PRESETS
from scenewise.parts.poses.refinement.refine import RefinementRequest, refine_poses
from scenewise.parts.sources.scene_photographs import reopen_photographs
from scenewise.rendering import render
from scenewise.scenes.gaussians import gaussian_numbers
from scenewise.show.pictures import depth_picture, error_picture, thumbnail
from scenewise.studies.arms import Arm, Outcome
from scenewise.studies.bench import data_root

MARGIN = 0.95
"""Part of a time limit that training is planned to take: the estimate of the speed is not exact."""


@dataclass(frozen=True)
class QualityArm:
    """One capture and the options it is reconstructed with.

    Attributes:
        capture: folder under the data root; "room" is the procedural one.
        limit_seconds: training time, or None when ``options`` fixes the steps.
        options: of ``scenewise reconstruct``.
        seeds: how many.
        why: what the arm is for.
        refined: poses, lens and depth camera are made to fit the pictures first, as ``scenewise poses --refine`` does.
    """

    capture: str
    limit_seconds: int | None  # part of what names kept outcomes, where 200 and 200.0 are two things
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 3
    why: str = ""
    refined: bool = False


ARMS: dict[str, QualityArm] = {
    "fox_90s": QualityArm("fox", None, {"downscale": 4, "steps": 3500}, why="held-out PSNR within 90 s"),
    "fox_4500": QualityArm("fox", None, {"downscale": 4, "steps": 4500}, why="as many steps as the MCMC arm, to compare with it"),
    "fox_mcmc_180s": QualityArm("fox", None, {"downscale": 4, "steps": 4500, "strategy": "mcmc"}, why="the stretch goal"),
    "lego_5min": QualityArm(
        "lego_400", 200, {"preset": "nerf_synthetic"}, why="held-out PSNR within 5 minutes, preparation included"
    ),
    "redkitchen": QualityArm("redkitchen_rgbd", None, {"downscale": 2}, seeds=1, why="calibration as shipped: it does not fit"),
    "redkitchen_refined": QualityArm("redkitchen_rgbd", None, {"downscale": 2}, why="from depth; depth error", refined=True),
    "brighton": QualityArm("brighton_beach", None, {"downscale": 2}, why="nadir flight with GPS"),
    "room": QualityArm("room", None, {"steps": 600, "max_gaussians": 20_000}, why="needs no data"),
    "room_mcmc": QualityArm("room", None, {"steps": 600, "max_gaussians": 20_000, "strategy": "mcmc"}, why="needs no data"),
}


def is_available(arm: QualityArm) -> bool:
    """Whether the arm's capture is there."""
    return arm.capture == "room" or (data_root() / arm.capture).is_dir()


def write_picture(scene_folder: Path, capture_folder: Path, target: Path, view: int | None = None) -> None:
    """Photograph | render | error | depth of one held-out view (default: the middle one), as one small JPEG."""
    scene = read_scene(scene_folder)
    capture = reopen_photographs(scene, capture_folder).opened
    frame = capture.test_frames[len(capture.test_frames) // 2 if view is None else view]
    assert frame.load_image is not None
    truth = frame.load_image()
    background = None if capture.background is None else torch.tensor(capture.background)
    with torch.no_grad():
        output = render(scene.gaussians, frame.camera, background=background)
    picture = image_u8_from_color(output.color.numpy())
    depth = (output.depth / output.alpha.clamp_min(1e-6) * (output.alpha > 0.5)).numpy()
    strip = np.concatenate([truth, picture, error_picture(truth, picture), depth_picture(depth)], axis=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(thumbnail(np.ascontiguousarray(strip), 1200)).save(target, quality=82)


def run_quality_arm(arm: QualityArm, seed: int, *, show: bool = False, picture: Path | None = None) -> Outcome:
    """Reconstructs the arm's capture once and returns what was measured on its held-out views; writes a picture if asked."""
    with tempfile.TemporaryDirectory() as temporary:
        capture = data_root() / arm.capture
        if arm.capture == "room":
            capture = Path(temporary) / "room"
            write_demo_capture(capture, frames=32, width=160, height=120)
        if arm.refined:
            refined = Path(temporary) / f"{arm.capture}_refined"
            refine_poses(RefinementRequest(capture, refined, seed=seed), console_progress() if show else NullProgress())
            capture = refined
        out = Path(temporary) / "scene"
        options = ReconstructOptions(capture=capture, out=out, seed=seed, checkpoint_every=10**9, **arm.options)
        if arm.limit_seconds is not None:
            options = replace(options, minutes=MARGIN * arm.limit_seconds / 60.0)
        summary = reconstruct(options, console_progress() if show else NullProgress())
        if picture is not None:
            write_picture(out, capture, picture)
        card = summary.evaluation
        assert card is not None and card.psnr is not None and card.ssim is not None, "every arm's capture holds views out"
        metrics = {
            "psnr": card.psnr,
            "ssim": card.ssim,
            "psnr_color_corrected": card.more["color_corrected"]["psnr"],
            "num_gaussians": float(card.num_gaussians),
            "steps": float(summary.steps),
            "setup_seconds": summary.setup_seconds,
            "peak_memory_bytes": float(summary.peak_memory_bytes),
        }
        for name in ("abs_rel", "median_abs", "coverage"):
            value = card.more.get("depth", {}).get(name)
            if value is not None:
                metrics[f"depth_{name}"] = value
        degree = options.sh_degree
        parameters = card.num_gaussians * gaussian_numbers(degree)
        size = (out / "splats.spz").stat().st_size if (out / "splats.spz").exists() else (out / "splats.ply").stat().st_size
        return Outcome(metrics, parameters, parameters, summary.seconds, size)


def experiment_arm(name: str, arm: QualityArm, pictures: Path) -> Arm:
    """The arm for :func:`scenewise.studies.arms.run_arm`, whose cache depends on the method's settings too."""
    preset = "fast_mcmc" if arm.options.get("strategy") == "mcmc" else "fast"
    config = {"arm": asdict(arm) | {"why": "", "seeds": 0}, "preset": asdict(PRESETS[preset]), "margin": MARGIN}
    target = pictures / f"gaussian_splatting_{name}.jpg"
    return Arm(name, config, lambda seed: run_quality_arm(arm, seed, picture=target if seed == 0 else None))


@dataclass(frozen=True)
class Options:
    """What is run and how it is told.

    Attributes:
        arms: by name; by default all.
        seeds: by default as many as the arm has.
        json: print one JSON object.
        pictures: folder for a picture of each arm's first seed.
    """

    arms: Positional[tuple[str, ...]] = ()
    seeds: tuple[int, ...] = ()
    json: bool = False
    pictures: Path | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.arms if name not in ARMS]
        if unknown:
            raise ConventionError("arms", expected=", ".join(ARMS), got=unknown[0])


def main(options: Options) -> int:
    """Prints a line per run, or one JSON object."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in options.arms or ARMS:
        arm = ARMS[name]
        if not is_available(arm):
            print(f"{name}: left out, no {arm.capture} in {data_root()}", file=sys.stderr)
            continue
        for seed in options.seeds or range(arm.seeds):
            picture = options.pictures / f"gaussian_splatting_{name}.jpg" if options.pictures and seed == 0 else None
            outcome = run_quality_arm(arm, seed, show=sys.stderr.isatty(), picture=picture)
            found.setdefault(name, []).append({"seed": seed, "train_seconds": outcome.train_seconds, **outcome.metrics})
            if not options.json:
                figures = outcome.metrics
                quality = f"{figures['psnr']:.2f} dB, SSIM {figures['ssim']:.4f}, {figures['num_gaussians']:,.0f} Gaussians"
                times = f"{figures['steps']:,.0f} steps in {outcome.train_seconds:.1f} s after {figures['setup_seconds']:.1f} s"
                print(f"{name} seed {seed}: {quality}, {times}", flush=True)
    if options.json:
        print(json.dumps(found))
    return 0

"""What label-free segmentation costs: read-outs per frame, lifting onto points and splats, over-segmentation.

    python benchmarks/label_free.py [--quick] [--json] [--threads N]

Read-outs are compared within one run on the same 640×480 picture, so their ratios mean something on any machine.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from scenewise.engine.threads import compute_threads
from scenewise.parts.lifting import gaussian_features, visible_pixels
from scenewise.parts.segments.oversegmentation import point_segments
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.studies.read_outs.rooms import room_points, room_views
from scenewise.studies.results import environment
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.read_outs import READ_OUTS
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS

WIDTH, HEIGHT = 640, 480


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """The fastest of several runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def read_out_costs(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds per 640×480 frame of the embedded model by read-out, and the ratio to MaskCLIP."""
    room = furnished_room(BENCHMARK_SEEDS[0])
    image = photograph(room, room_cameras(room, 1, WIDTH, HEIGHT)[0])
    costs = {}
    for name, settings in READ_OUTS.items():
        teacher = open_teacher(SMALL_CLIP, read_out=settings, device="cpu")
        costs[name] = seconds_of(lambda teacher=teacher: teacher.dense(image, "frame"), repeats)
    suited = open_teacher(SMALL_CLIP, device="cpu")
    costs["small-clip default"] = seconds_of(lambda: suited.dense(image, "frame"), repeats)
    return {name: {"seconds": cost, "ratio_to_maskclip": cost / costs["maskclip"]} for name, cost in costs.items()}


def large_tower_costs(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds per 224-pixel window of a randomly initialised ViT-B/16, where transformers is installed."""
    try:
        from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig
    except ImportError:
        return {}
    from scenewise.teachers.hugging_face import ClipTower
    from scenewise.teachers.read_outs import dense_tokens

    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=16
    )
    model = CLIPModel(CLIPConfig(vision_config=vision.to_dict())).eval()
    tower = ClipTower(model, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    windows = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    costs = {
        name: seconds_of(lambda settings=settings: dense_tokens(tower, windows, settings), repeats) / len(windows)
        for name, settings in READ_OUTS.items()
    }
    return {name: {"seconds": cost, "ratio_to_maskclip": cost / costs["maskclip"]} for name, cost in costs.items()}


def lifting_cost(frames: int, points: int) -> dict[str, float]:
    """Seconds to find the pixels of many points in many frames with measured depth."""
    room = furnished_room(BENCHMARK_SEEDS[0])
    cameras = room_cameras(room, frames, WIDTH, HEIGHT)
    rng = np.random.default_rng(0)
    depth = [truth(room, cameras[i]).depth for i in range(frames)]
    views = [
        Frame(f"{i:03d}.png", cameras[i], lambda: np.zeros((HEIGHT, WIDTH, 3), np.uint8), lambda i=i: depth[i])
        for i in range(frames)
    ]
    positions = []
    for i in range(frames):
        count = points // frames + (i < points % frames)
        row, column = rng.integers(0, HEIGHT, count), rng.integers(0, WIDTH, count)
        z = depth[i][row, column].astype(np.float64)
        K = cameras[i].K.numpy()
        rays = np.stack([(column + 0.5 - K[0, 2]) / K[0, 0] * z, (row + 0.5 - K[1, 2]) / K[1, 1] * z, z], axis=-1)
        world_from_camera = np.linalg.inv(cameras[i].camera_from_world.numpy())
        positions.append(rays @ world_from_camera[:3, :3].T + world_from_camera[:3, 3])
    cloud = np.concatenate(positions)
    started = time.perf_counter()
    found = visible_pixels(cloud, views)
    return {"seconds": time.perf_counter() - started, "frames": frames, "points": points, "pairs": len(found)}


def splat_cost(count: int, dims: tuple[int, ...]) -> dict[str, float]:
    """Seconds per 320×240 view to lift a field onto splats through Σα·T, by its number of channels."""
    room = furnished_room(BENCHMARK_SEEDS[0])
    cameras = [room_cameras(room, 4, 320, 240)[i] for i in range(4)]
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(count, 3, generator=generator) * torch.tensor(room.size)
    gaussians = Gaussians(
        means=means,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.full((count, 3), -3.3),
        logit_opacities=torch.zeros(count),
        sh0=torch.rand(count, 1, 3, generator=generator),
        shN=torch.zeros(count, 0, 3),
    )
    costs = {}
    for dim in dims:
        field = DenseField(np.random.default_rng(0).random((60, 80, dim), dtype=np.float32), 240, 320)
        started = time.perf_counter()
        gaussian_features(gaussians, cameras, lambda view, field=field: field)
        costs[f"{dim} channels"] = (time.perf_counter() - started) / len(cameras)
    return costs


def segment_cost(count: int) -> dict[str, float]:
    """Seconds to divide points of a room's surface into segments."""
    points = room_points(room_views(BENCHMARK_SEEDS[0], 10), voxel=0.015)
    chosen = np.random.default_rng(0).permutation(len(points.points_in_world))[:count]
    started = time.perf_counter()
    found = point_segments(points.points_in_world[chosen], viewpoints=points.viewpoints[chosen])
    return {"seconds": time.perf_counter() - started, "points": len(chosen), "segments": found.count}


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    repeats = 1 if options.quick else 5
    with compute_threads(options.threads) as threads:
        torch.set_num_threads(threads)  # teachers run in torch
        found = {
            "threads": threads,
            "read_outs_640x480": read_out_costs(repeats),
            "read_outs_vit_b16_window": {} if options.quick else large_tower_costs(3),
            "lifting": lifting_cost(*((5, 20_000) if options.quick else (100, 1_000_000))),
            "splats_50k": splat_cost(2_000 if options.quick else 50_000, (15, 128)),
            "segments": segment_cost(3_000 if options.quick else 100_000),
            "environment": environment(),
        }
    print(json.dumps(found, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

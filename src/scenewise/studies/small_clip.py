"""Trains the embedded small CLIP from nothing: photographs procedural rooms, learns from captions, writes the weights file.

    python -m scenewise.studies small_clip                    to the end (about two hours on one core)
    python -m scenewise.studies small_clip --minutes 20       a slice; the next call goes on
    python -m scenewise.studies small_clip --quick            a toy of the same shape, in a minute
    python -m scenewise.studies small_clip --export           also replaces the packaged weights when training is complete

Everything random depends on the seed and the step alone, so slices give the same bits as one long run on the same machine.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from scenewise.engine.progress import console_progress
from scenewise.io.json_values import json_ready
from scenewise.methods.small_clip.config import Phase, PictureSettings, SmallClipConfig
from scenewise.methods.small_clip.train import export, read_pictures, render_pictures, train
from scenewise.teachers.choose import chosen_device
from scenewise.teachers.small_clip import WEIGHTS


@dataclass(frozen=True)
class Options:
    """Where and how long.

    Attributes:
        out: folder of pictures, checkpoints and log.
        minutes: of training in this call; None = to the end.
        processes: that photograph rooms at the same time.
        device: "cpu", "cuda" or "auto": CUDA where there is one.  The packaged weights were trained on the CPU; sums differ.
        quick: a toy of the same shape.
        export: replace the packaged weights by the result.
        json: print the report as JSON.
    """

    out: Path = Path("runs/small_clip")
    minutes: float | None = None
    processes: int = 2
    device: str = "auto"
    quick: bool = False
    export: bool = False
    json: bool = False


def quick_config() -> SmallClipConfig:
    """Few pictures, few steps: shows that it runs, not that it learns much."""
    pictures = PictureSettings(rooms_per_shard=8, shards=2)
    return SmallClipConfig(pictures=pictures, phases=(Phase(16, 48), Phase(8, 96, 1.0, (96, 112))), batch_size=16, save_every=12)


def main(options: Options) -> int:
    """Runs until done or until the minutes are over."""
    progress = console_progress()
    config = quick_config() if options.quick else SmallClipConfig()
    out = options.out / "quick" if options.quick else options.out
    render_pictures(out / "pictures", config.pictures, options.processes, progress)
    pictures = read_pictures(out / "pictures", config.pictures)
    report = train(
        config,
        pictures,
        out,
        minutes=options.minutes,
        device=chosen_device(None if options.device == "auto" else options.device),
        progress=progress,
    )
    weights = out / "small_clip.safetensors"
    export(config, out, weights)
    if options.export and report.is_done and not options.quick:
        export(config, out, WEIGHTS)
    found = {**asdict(report), "weights": str(weights), "bytes": weights.stat().st_size, "pictures": len(pictures)}
    print(json.dumps(json_ready(found), indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    return 0

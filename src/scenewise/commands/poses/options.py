"""Options of ``scenewise poses``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.engine.option_values import Count, Number, require, require_at_least, require_seed

_FEWEST_FRAMES = 2


@dataclass(frozen=True)
class PosesOptions:
    """Find out where photographs, or the frames of a film, were taken from, and write a capture that every command opens.

    With --refine: make the poses of a capture fit its pictures.

    Attributes:
        photographs: folder of photographs, or a film; with --refine a capture with poses.
        out: capture folder to write: images/ and a COLMAP model in sparse/0; of RGB-D captures an RGB-D folder.
        refine: start from the given poses and adjust them, focal length, distortion and the place of the depth camera.
        frames: how many frames of a film to use; about two a second when not given.
        pairs: pictures that are compared: "all" with all, "sequential" as they follow each other, "gps" with the nearest,
            "similar" with those that look most alike, "auto" by what is known of them.
        lens: camera model: one radial term, OPENCV's four, or whichever predicts tracks left out best.
        max_side: pictures are reduced to so many pixels along their longer side to find features, 640 when not given, 960 with
            --refine; cameras are of full size.
        minutes: give up after this time; what was found until then is kept for --resume.
        seed: random seed; the same seed on the same machine gives the same bits.
        threads: worker threads; default all cores this process may use.
        resume: go on where an interrupted run stopped.
        overwrite: replace an existing capture that scenewise poses wrote.
        strict: refuse a result that leaves a picture out.
    """

    photographs: Positional[Path]
    out: Path
    refine: bool = False
    frames: Count = None
    pairs: Literal["auto", "all", "sequential", "gps", "similar"] = "auto"
    lens: Literal["auto", "SIMPLE_RADIAL", "OPENCV"] = "auto"
    max_side: Count = None
    minutes: Number = None
    seed: int = 0
    threads: Count = None
    resume: bool = False
    overwrite: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        if self.refine:
            asked = {"--frames": self.frames is not None, "--pairs": self.pairs != "auto", "--lens": self.lens != "auto"}
            for option, is_given in asked.items():
                require(not is_given, option, "photographs without poses", "--refine", f"leave {option} or --refine out")
        require_at_least("--frames", self.frames, _FEWEST_FRAMES)
        require_at_least("--max-side", self.max_side, 128)
        require_at_least("--threads", self.threads, 1)
        require_seed(self.seed)
        require(self.minutes is None or 0.0 < self.minutes < float("inf"), "--minutes", "a time above 0", self.minutes)
        require(
            not (self.resume and self.overwrite),
            "--resume and --overwrite",
            "one of the two",
            "both",
            "--resume goes on with what is there, --overwrite starts anew",
        )

"""Options of ``scenewise features``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from scenewise.commands.shared import Device
from scenewise.engine.option_values import Count, require, require_at_least, require_seed


@dataclass(frozen=True)
class FeaturesOptions:
    """Write the features of a pre-trained pair of networks as files: of every point, of every picture, and key points.

    DIR/pictures is a teacher from files: scenewise segment … --teacher files:DIR/pictures.

    Attributes:
        source: capture, scene folder, scan, or point cloud with colours.
        out: folder to write.
        teacher: "condense:RUN", a run of scenewise pretrain; "condense" is the built-in pair.
        space: of the pictures' features: "text", in which words lie too, or "condense", the pair's own, in which points and key
            points are; default text where the pair knows words.
        keypoints: of the scene at most.
        frames: use at most this many pictures, evenly spread.
        no_pictures: write points and key points alone.
        picture_width: pixels of the longer side at which pictures are looked at; smaller ones are looked at as they are.
        max_points: of a capture without points, where they are made of depth or matches.
        overwrite: replace such a folder.
        seed: random seed, where points have to be found by matching.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    source: Positional[Path]
    out: Path
    teacher: str = "condense"
    space: Annotated[Literal["text", "condense"] | None, arg(metavar="{text,condense}")] = None
    keypoints: int = 512
    frames: Count = None
    no_pictures: bool = False
    picture_width: int = 320
    max_points: int = 200_000
    overwrite: bool = False
    seed: int = 0
    threads: Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--keypoints", self.keypoints, 1),
            ("--frames", self.frames, 1),
            ("--picture-width", self.picture_width, 16),
            ("--max-points", self.max_points, 1),
            ("--threads", self.threads, 1),
        ):
            require_at_least(option, value, least)
        require(not (self.no_pictures and self.frames is not None), "--frames", "pictures to write", "--no-pictures")
        require_seed(self.seed)

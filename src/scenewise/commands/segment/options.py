"""Options of ``scenewise segment``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.commands.method_settings import ReadOutOptions, given, require_read_out
from scenewise.commands.shared import require_refinement, require_resume_or_overwrite
from scenewise.engine.option_values import (
    Count,
    Number,
    OptionalPath,
    Text,
    bytes_from_text,
    require,
    require_at_least,
    require_seed,
)
from scenewise.teachers.choice import TeacherChoice

PointsFrom = Literal["pictures", "geometry", "both"]


@dataclass(frozen=True)
class SegmentOptions:
    """Name every point, splat or pixel with words, without training and without labels.

    Attributes:
        target: scene folder, captured folder (photographs with poses, RGB-D, nuScenes, ScanNet), point cloud or mesh file, or
            plain images: a folder of them or several files.
        out: folder to write; default the scene folder itself, needed for everything else.
        classes: names separated by commas, synonyms by bars ("wall, floor, sofa|couch"), or a file with a class per line; default
            the teacher's own list where it has one.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, "files:DIR", or
            "condense:RUN" (a pre-trained pair of networks; "condense" is built in), which also names points without images.
        points_from: with a teacher that can name points by themselves (condense), what names points and splats: the images that
            show them, their own places and colours (geometry), or both; default the images, and geometry where there are none.
        read_out: how dense features are read from the teacher: clip, maskclip, clearclip, sclip, naclip or sc_clip.
        text_from: for "files:DIR" with features, the teacher whose text tower shares their space, so that any words can be asked.
        key_smoothing: patches with similar keys share what they say (MaskCLIP); blurs small things.
        prompt_denoising: in each image, drop classes that are nowhere at least this probable, such as 0.5 (MaskCLIP).
        pamr: for plain images: steps of refinement along edges of the image, such as 10; 0 for none.
        vote: majority over the views of a point ("view"), also over the points of a smooth segment ("set"), or neither ("none":
            the class of the mean feature).
        partition: how points are cut into segments: along smooth surfaces, or into compact pieces.
        segments: file with a segment id per point to vote in instead: ScanNet *.segs.json, or .npy, .txt or .safetensors.
        min_agreement: a segment whose leading class gets a smaller share of the votes stays unknown.
        min_confidence: whatever is less probable stays unknown.
        capture: photographs for a scene whose capture has moved, or for a point cloud.
        frames: use at most this many views, evenly spread.
        downscale: use the images at 1/N of their size.
        max_points: of a cloud that is fused from depth maps.
        cache_limit: disk space for the teacher's answers, such as 4GB; the oldest settings' go first.
        no_cache: keep none of the teacher's answers; an interrupted run then starts over.
        resume: continue an interrupted run with the same settings.
        overwrite: replace labels that exist.
        seed: random seed, where points have to be found by matching.
        threads: worker threads; default all cores this process may use.
        read_out_settings: of the read-out, for experts.
    """

    target: Positional[tuple[Path, ...]]
    out: OptionalPath = None
    classes: Text = None
    teacher: str = "small-clip"
    points_from: PointsFrom | None = None
    read_out: Text = None
    text_from: Text = None
    key_smoothing: bool = False
    prompt_denoising: Number = None
    pamr: int = 0
    vote: Literal["none", "view", "set"] = "set"
    partition: Literal["smooth", "compact"] = "smooth"
    segments: OptionalPath = None
    min_agreement: float = 0.0
    min_confidence: float = 0.0
    capture: OptionalPath = None
    frames: Count = None
    downscale: Count = None
    max_points: int = 300_000
    cache_limit: str = "4GB"
    no_cache: bool = False
    resume: bool = False
    overwrite: bool = False
    seed: int = 0
    threads: Count = None
    read_out_settings: ReadOutOptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read_out_settings", given(self.read_out_settings))
        require_read_out(self.read_out_settings, self.read_out)
        require(len(self.target) > 0, "TARGET", "a folder or a file", "none")
        for option, value in (
            ("--frames", self.frames),
            ("--downscale", self.downscale),
            ("--max-points", self.max_points),
            ("--threads", self.threads),
        ):
            require_at_least(option, value, 1)
        require_seed(self.seed)
        for option, share in (("--min-agreement", self.min_agreement), ("--min-confidence", self.min_confidence)):
            require(0.0 <= share <= 1.0, option, "a number in [0, 1]", share)
        require_refinement(self.prompt_denoising, self.pamr)
        require(
            self.segments is None or self.vote == "set",
            "--segments",
            "--vote set",
            f"--vote {self.vote}",
            "leave one of them out",
        )
        require_resume_or_overwrite(self.resume, self.overwrite)
        bytes_from_text(self.cache_limit)

    @property
    def cache_bytes(self) -> int:
        """Disk space for the teacher's answers in bytes; 0 for none."""
        return 0 if self.no_cache else bytes_from_text(self.cache_limit)

    @property
    def teacher_choice(self) -> TeacherChoice:
        """Which teacher to open."""
        changed = self.read_out_settings.get(self.read_out or "", {})
        return TeacherChoice(
            self.teacher,
            self.read_out,
            self.text_from,
            self.key_smoothing,
            read_out_settings=changed,
        )

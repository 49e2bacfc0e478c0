"""Options of ``scenewise eval-2d``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.commands.method_settings import ReadOutOptions, given, require_read_out
from scenewise.commands.shared import Device, require_refinement
from scenewise.engine.option_values import Count, Number, OptionalPath, Text, require, require_at_least
from scenewise.teachers.choice import TeacherChoice

SegmentationBenchmark = Literal["voc21", "voc20", "context60", "context59", "coco_object", "coco_stuff", "cityscapes", "ade20k"]


@dataclass(frozen=True)
class Evaluate2dOptions:
    """Measure a 2D teacher on a labelled data set: mIoU by the protocol of training-free open-vocabulary segmentation.

    Attributes:
        dataset: which data set; it decides folders, label codes, words, window size and thresholds.
        root: its folder, as MMSegmentation's data preparation leaves it.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, "files:DIR", or
            "condense:RUN" (a pre-trained pair of networks; "condense" is built in).
        read_out: how dense features are read from the teacher: clip, maskclip, clearclip, sclip, naclip or sc_clip.
        text_from: for files:DIR with features, the teacher whose text tower shares their space.
        key_smoothing: patches with similar keys share what they say (MaskCLIP).
        prompt_denoising: in each image, drop classes that are nowhere at least this probable; 0.5 in MaskCLIP, there with
            --logit-scale 100.
        pamr: steps of refinement along edges of the image; 10 in NACLIP, 0 for none.
        limit: only the first N images.
        out: folder for the figures; the same command with the same folder goes on after an interruption.
        logit_scale: factor before the softmax; default the published one of the data set.
        overwrite: start over in a folder with figures of other settings.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        read_out_settings: of the read-out, for experts.
    """

    dataset: Positional[SegmentationBenchmark]
    root: Positional[Path]
    teacher: str = "small-clip"
    read_out: Text = None
    text_from: Text = None
    key_smoothing: bool = False
    prompt_denoising: Number = None
    pamr: int = 0
    limit: Count = None
    out: OptionalPath = None
    logit_scale: Number = None
    overwrite: bool = False
    threads: Count = None
    device: Device = "auto"
    read_out_settings: ReadOutOptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read_out_settings", given(self.read_out_settings))
        require_read_out(self.read_out_settings, self.read_out)
        require_at_least("--limit", self.limit, 1)
        require_at_least("--threads", self.threads, 1)
        require_refinement(self.prompt_denoising, self.pamr)
        require(self.logit_scale is None or 0.0 < self.logit_scale < float("inf"), "--logit-scale", "above 0", self.logit_scale)
        require(self.text_from is None or self.teacher.startswith("files:"), "--text-from", "--teacher files:DIR", self.teacher)

    @property
    def teacher_choice(self) -> TeacherChoice:
        """Which teacher to open."""
        device = None if self.device == "auto" else self.device
        changed = self.read_out_settings.get(self.read_out or "", {})
        return TeacherChoice(
            self.teacher,
            self.read_out,
            self.text_from,
            self.key_smoothing,
            device,
            read_out_settings=changed,
        )

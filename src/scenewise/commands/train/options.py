"""Options of ``scenewise train``."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from scenewise.catalogue import LABEL_FREE_METHODS, Overrides, method_named
from scenewise.commands.method_settings import (
    MethodSettings,
    ReadOutOptions,
    expert_groups,
    given,
    require_only,
    require_read_out,
)
from scenewise.commands.shared import Device, require_resume_or_overwrite
from scenewise.engine.option_values import (
    Count,
    Number,
    OptionalPath,
    Text,
    require,
    require_above_zero,
    require_at_least,
    require_seed,
)
from scenewise.parts.labelfree.settings import BackboneName
from scenewise.teachers.choice import CONSISTENT, TeacherChoice, is_consistent

SEGMENT_KINDS = ("auto", "mesh", "neighbours", "supervoxels", "shipped")

_OF_METHODS = expert_groups(
    {name: method.options for name, method in LABEL_FREE_METHODS.items()},
    leave_out={name: [entry.name for entry in fields(Overrides)] for name in LABEL_FREE_METHODS},
)


@dataclass(frozen=True)
class TrainOptions:
    """Train a network that names points, from images and class names alone.

    The first run with a teacher prepares the scans, for which it looks at every picture; later runs with other methods and seeds
    find them in the cache.  Several processes: torchrun --nproc-per-node N -m scenewise.cli.main train …

    Attributes:
        method: what learns; with it, --help shows the method's own settings as well.
        data: folder of scans in ScanNet's layout (ScanNet, procedural rooms), nuScenes, or one captured folder.
        out: run folder to write.
        split: which scans of a data set, or of nuScenes by its official lists; default train where there are splits.
        preset: settings of the method by data set: scannet, nuscenes or rooms.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, "files:DIR", or
            "condense:RUN" (a pre-trained pair of networks; "condense" is built in).
        read_out: how dense features are read from the teacher: clip, maskclip, clearclip, sclip, naclip or sc_clip; default
            the one of the method's paper: maskclip for clip2scene, cns and hicl, sc_clip for union; the built-in teacher keeps
            the one that suits it.
        text_from: for "files:DIR", the teacher whose text tower shares the features' space, or in whose space a network is to
            learn from labels; default the text beside the files.
        classes: names separated by commas, synonyms by bars ("wall, floor, sofa|couch"), or a file with a class per line; default
            the names of the data set's classes, or the teacher's own list.
        init: "condense:RUN" ("condense" is built in): the 3D network begins as the one of a pre-trained pair, which was given
            colours; --backbone and --width are then that one's unless they are given, --voxel stays the preset's.
        epochs: passes over the scans; the method's phases keep their shares of short runs.
        width: multiple of the 3D network's channels, such as 0.25.
        voxel: edge of a voxel in metres.
        batch: scans in a step over all processes.
        learning_rate: of the students, at the start.
        backbone: 3D network: minkunet14a, minkunet18a, minkunet34c or spvcnn.
        views: pictures of a scan that are used at most, evenly spread.
        views_per_step: pictures of each scan in a step.
        picture_width: pixels of the pictures that are learned from.
        regions: 2D sets of pixels: slic, felzenszwalb or sam:NAME; default what the method needs.
        targets: frozen features to match: sam:NAME, files:DIR, teacher or random-convolutions; default what the method needs.
        segments: geometric sets of points: auto, mesh, neighbours or supervoxels; "shipped" are ScanNet's own, which know the
            borders of its truth; or a file with a segment id per point (ScanNet *.segs.json, .npy, .txt or .safetensors), for
            several scans a folder of them, each named after its scan.
        cache: folder of prepared scans; default RUN/cache.
        seed: random seed; the same seed on the same machine gives the same bits.
        precision: "bfloat16" rounds the operands of convolutions where that is faster; "float16" on CUDA only.
        save_every: epochs between two checkpoints.
        resume: continue from the newest checkpoint in the run folder.
        overwrite: replace a run.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        tensorboard: also write TensorBoard's files to RUN/tensorboard.
        settings: of the method, for experts, where no other option changes them.
        read_out_settings: of the teacher's read-out, for experts.
    """

    method: Positional[Annotated[str, arg(metavar=f"{{{','.join(LABEL_FREE_METHODS)}}}")]]
    data: Path
    out: Path
    split: Text = None
    preset: str = "scannet"
    teacher: str = "small-clip"
    read_out: Text = None
    text_from: Text = None
    classes: Text = None
    init: Text = None
    epochs: Count = None
    width: Number = None
    voxel: Number = None
    batch: Count = None
    learning_rate: Number = None
    backbone: BackboneName | None = None
    views: int = 100
    views_per_step: Count = None
    picture_width: int = 320
    regions: Text = None
    targets: Text = None
    segments: Annotated[str, arg(metavar="{auto,mesh,neighbours,supervoxels,shipped}|PATH")] = "auto"
    cache: OptionalPath = None
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    save_every: int = 1
    resume: bool = False
    overwrite: bool = False
    threads: Count = None
    device: Device = "auto"
    tensorboard: bool = False
    settings: Annotated[MethodSettings, _OF_METHODS] = field(default_factory=dict)
    read_out_settings: ReadOutOptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        method_named(self.method)
        object.__setattr__(self, "settings", given(self.settings))
        object.__setattr__(self, "read_out_settings", given(self.read_out_settings))
        require_only(self.settings, self.method, "method ")
        require_read_out(self.read_out_settings, self.read_out)
        for option, value in (
            ("--epochs", self.epochs),
            ("--batch", self.batch),
            ("--views", self.views),
            ("--views-per-step", self.views_per_step),
            ("--picture-width", self.picture_width),
            ("--save-every", self.save_every),
            ("--threads", self.threads),
        ):
            require_at_least(option, value, 1)
        require_seed(self.seed)
        if self.init is not None:
            require(is_consistent(self.init), "--init", f'"{CONSISTENT}" or "{CONSISTENT}:RUN"', repr(self.init))
        known = self.segments in SEGMENT_KINDS or Path(self.segments).exists()
        require(known, "--segments", f"{', '.join(SEGMENT_KINDS)}, or a file or folder that exists", repr(self.segments))
        for option, number in (("--width", self.width), ("--voxel", self.voxel), ("--learning-rate", self.learning_rate)):
            require_above_zero(option, number)
        require_resume_or_overwrite(self.resume, self.overwrite)

    @property
    def teacher_choice(self) -> TeacherChoice:
        """Which teacher to open."""
        changed = self.read_out_settings.get(self.read_out or "", {})
        usual = method_named(self.method).read_out
        return TeacherChoice(self.teacher, self.read_out, self.text_from, read_out_settings=changed, method_read_out=usual)

    @property
    def segments_path(self) -> Path | None:
        """A person's own segments; None where ``segments`` names a way to make them."""
        return None if self.segments in SEGMENT_KINDS else Path(self.segments)

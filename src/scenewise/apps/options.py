"""What each command takes, as typed records: the command line is built from them, Python callers fill them in directly.

This module imports neither torch nor anything that does, so that ``scenewise --help`` stays instant.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from scenewise.errors import ConventionError

Device = Literal["auto", "cpu", "cuda"]
Color = tuple[float, float, float]
SegmentationBenchmark = Literal["voc21", "voc20", "context60", "context59", "coco_object", "coco_stuff", "cityscapes", "ade20k"]

# Optional values under the names the help shows for them.
_Count = Annotated[int | None, arg(metavar="N")]
_Number = Annotated[float | None, arg(metavar="X")]
_Text = Annotated[str | None, arg(metavar="TEXT")]
_Path = Annotated[Path | None, arg(metavar="PATH")]
_Color = Annotated[Color | None, arg(metavar="R G B")]

PAPER_FROM_STEPS = 15_000
"""Reconstructions of at least this many steps use the papers' settings, shorter ones those for a CPU."""
_MOST_PAMR_STEPS = 1000  # it has settled long before
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def bytes_from_text(text: str) -> int:
    """Number of bytes in a human size: ``2GB`` is 2·10⁹, ``2GiB`` is 2·2³⁰, ``1500MB``, ``64k``, ``123``.

    Raises:
        ConventionError: not a size, or zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", text, flags=re.IGNORECASE | re.ASCII)
    size = 0 if match is None else int(float(match[1]) * _UNITS[(match[2] or "").upper()])
    if size < 1:
        raise ConventionError("size", expected="a number with a unit such as 2GB or 1500MiB", got=repr(text))
    return size


def _require(condition: bool, option: str, expected: str, got: object, fix: str | None = None) -> None:
    if not condition:
        raise ConventionError(option, expected=expected, got=got, fix=fix)


def _require_at_least(option: str, value: int | None, minimum: int) -> None:
    _require(value is None or value >= minimum, option, f"{minimum} or more", value)


def _require_refinement(prompt_denoising: float | None, pamr: int) -> None:
    is_share = prompt_denoising is None or 0.0 <= prompt_denoising <= 1.0
    _require(is_share, "--prompt-denoising", "a number in [0, 1]", prompt_denoising)
    _require(0 <= pamr <= _MOST_PAMR_STEPS, "--pamr", f"0 to {_MOST_PAMR_STEPS} steps", pamr)


def _require_color(option: str, value: Color | None) -> None:
    _require(value is None or all(0.0 <= part <= 1.0 for part in value), option, "three numbers in [0, 1]", value)


@dataclass(frozen=True)
class CheckOptions:
    """Look at a capture before training: poses, missing and blurred images, coverage, scale, predicted memory and time.

    Attributes:
        capture: folder with photographs and poses: COLMAP, transforms.json or RGB-D.
        preset: data set preset that fixes image size and split (nerf_synthetic, mipnerf360, tanks_and_temples, deep_blending).
        downscale: use the images at 1/N of their size.
        background: colour behind transparent images, three numbers in [0, 1].
        strict: exit with an error where reconstruct --strict would refuse.
    """

    capture: Positional[Path]
    preset: _Text = None
    downscale: _Count = None
    background: _Color = None
    strict: bool = False

    def __post_init__(self) -> None:
        _require_at_least("--downscale", self.downscale, 1)
        _require_color("--background", self.background)


@dataclass(frozen=True)
class DistillationOptions:
    """Method distilled_3dgs: several teachers, one small student.  What is not given is the preset's.

    Attributes:
        keep_ratio: size dial: keep this part of the vanilla teacher's Gaussians; --max-gaussians asks for a number instead.
        target_size: size dial: a file of at most this size, such as 20MB.
        size_of: the file that --target-size is about.
        curve: also train students that keep these parts, and draw quality over size.
        teachers: which teachers: vanilla, noise, dropout; several of a kind as vanilla_2, vanilla_3.
        teacher_steps: optimisation steps of each teacher; default as many as the student's.
        teacher_gaussians: never more Gaussians than this in a teacher, and in the student before it is simplified.
        teachers_from: scene folder whose finished teachers are used again.
        jobs: teachers that are trained at the same time, each in a process of its own.
        ray: train the teachers on the Ray cluster at this address ("auto" for the one this machine belongs to).
        only_teacher: train this teacher and stop; its machine only needs to see the scene folder.
        released: settings of the published code instead of the paper's.
        teacher_schedule: when teachers are disturbed: throughout densification (paper) or nine times after it (released).
        kd_l1_target: what the distillation loss compares colours with: the teachers' picture or the photograph (gt, released).
        kd_from: learn from the teachers from the start (paper) or from the simplification on.
        between: learn also from the teachers alone at this many views between the photographs, as a part of their number.
        hist_kind: histogram of the structural term: trilinear, hard (paper) or separable (released); none leaves it out.
        hist_grid: its voxels along each edge.
        views_per_step: photographs per optimisation step (released: 6).
        depth_reg: learn from the capture's measured depth where it has any: on or off.
        restart_lr: raise the learning rate of positions again when the student is simplified: on or off.
    """

    keep_ratio: _Number = None
    target_size: _Text = None
    size_of: Literal["spz", "ply"] = "spz"
    curve: tuple[float, ...] = ()
    teachers: tuple[str, ...] = ()
    teacher_steps: _Count = None
    teacher_gaussians: _Count = None
    teachers_from: _Path = None
    jobs: int = 1
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    only_teacher: Annotated[str | None, arg(metavar="NAME")] = None
    released: bool = False
    teacher_schedule: Literal["paper", "released"] | None = None
    kd_l1_target: Literal["teacher", "gt"] | None = None
    kd_from: Literal["start", "simplification"] | None = None
    between: _Number = None
    hist_kind: Literal["trilinear", "hard", "separable", "none"] | None = None
    hist_grid: _Count = None
    views_per_step: _Count = None
    depth_reg: Literal["on", "off"] | None = None
    restart_lr: Literal["on", "off"] | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--teacher-steps", self.teacher_steps),
            ("--teacher-gaussians", self.teacher_gaussians),
            ("--jobs", self.jobs),
            ("--hist-grid", self.hist_grid),
            ("--views-per-step", self.views_per_step),
        ):
            _require_at_least(option, value, 1)
        for option, ratio in (("--keep-ratio", self.keep_ratio), *(("--curve", part) for part in self.curve)):
            _require(ratio is None or 0.0 < ratio <= 1.0, option, "a part in (0, 1]", ratio)
        _require(self.between is None or 0.0 <= self.between <= 10.0, "--between", "a number from 0 to 10", self.between)
        for name in (*self.teachers, *(() if self.only_teacher is None else (self.only_teacher,))):
            is_known = re.fullmatch(r"(vanilla|noise|dropout)(_([2-9]|\d\d))?", name) is not None
            _require(is_known, "--teachers", "vanilla, noise or dropout, or one of them with a number such as noise_2", name)
        if self.target_size is not None:
            bytes_from_text(self.target_size)

    @property
    def target_bytes(self) -> int | None:
        """The size asked for in bytes, or None."""
        return None if self.target_size is None else bytes_from_text(self.target_size)


@dataclass(frozen=True)
class ReconstructOptions:
    """Train Gaussian splats from a capture and write a scene folder.

    Attributes:
        capture: folder with photographs and poses: COLMAP, transforms.json or RGB-D.
        out: scene folder to write.
        method: how to reconstruct: "gaussian_splatting", or "distilled_3dgs" for few Gaussians that look like many.
        strategy: how Gaussians are added and removed: "default" densifies by gradient, "mcmc" keeps an exact budget.
        preset: data set preset that fixes image size and split (nerf_synthetic, mipnerf360, tanks_and_temples, deep_blending).
        downscale: use the images at 1/N of their size.
        steps: number of optimisation steps; the method's default when neither this nor minutes is given.
        minutes: time to spend: the speed is measured on the first 50 steps, then the number of steps is fixed.
        max_gaussians: never more Gaussians than this in the result.
        budget: memory that may be used, such as 2GB; caps the number of Gaussians or refuses before starting.
        sh_degree: highest degree of view-dependent colour, 0 to 3.
        background: colour behind transparent images, three numbers in [0, 1].
        pose_refinement: also optimise the camera poses.
        exposure_compensation: also optimise a colour transform per training image.
        absgrad: densify by the sum of absolute screen gradients instead of the length of their sum.
        seed: random seed; the same seed on the same machine gives the same bits.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        checkpoint_every: steps between two checkpoints.
        resume: continue from the newest checkpoint in the scene folder.
        overwrite: replace an existing scene folder.
        strict: refuse captures with missing images or other warnings.
        distillation: of method distilled_3dgs.
    """

    capture: Positional[Path]
    out: Path
    method: Literal["gaussian_splatting", "distilled_3dgs"] = "gaussian_splatting"
    strategy: Literal["default", "mcmc"] = "default"
    preset: _Text = None
    downscale: _Count = None
    steps: _Count = None
    minutes: _Number = None
    max_gaussians: _Count = None
    budget: _Text = None
    sh_degree: int = 3
    background: _Color = None
    pose_refinement: bool = False
    exposure_compensation: bool = False
    absgrad: bool = False
    seed: int = 0
    threads: _Count = None
    device: Device = "auto"
    checkpoint_every: int = 1000
    resume: bool = False
    overwrite: bool = False
    strict: bool = False
    distillation: DistillationOptions = field(default_factory=DistillationOptions)

    def __post_init__(self) -> None:
        _require_at_least("--downscale", self.downscale, 1)
        _require_at_least("--steps", self.steps, 1)
        _require_at_least("--max-gaussians", self.max_gaussians, 1)
        _require_at_least("--threads", self.threads, 1)
        _require_at_least("--checkpoint-every", self.checkpoint_every, 1)
        _require_color("--background", self.background)
        _require(0 <= self.sh_degree <= 3, "--sh-degree", "0, 1, 2 or 3", self.sh_degree)
        _require(self.minutes is None or 0.0 < self.minutes < float("inf"), "--minutes", "a time above 0", self.minutes)
        _require(self.steps is None or self.minutes is None, "--steps and --minutes", "one of the two", "both")
        _require(
            not (self.resume and self.overwrite),
            "--resume and --overwrite",
            "one of the two",
            "both",
            "--resume continues the scene folder, --overwrite starts anew",
        )
        if self.budget is not None:
            bytes_from_text(self.budget)
        self._check_method()

    def _check_method(self) -> None:
        """What belongs to one method is refused with another."""
        distillation = self.distillation
        if self.method != "distilled_3dgs":
            given = next((entry for entry in fields(distillation) if getattr(distillation, entry.name) != entry.default), None)
            option = "" if given is None else f"--{given.name.replace('_', '-')}"
            _require(
                given is None, option, "--method distilled_3dgs", f"--method {self.method}", "add it, or leave the option out"
            )
            return
        for option, given_here in (
            ("--strategy mcmc", self.strategy != "default"),
            ("--absgrad", self.absgrad),
            ("--pose-refinement", self.pose_refinement),
            ("--exposure-compensation", self.exposure_compensation),
        ):
            _require(not given_here, option, "--method gaussian_splatting", f"--method {self.method}", "leave the option out")
        dials = [
            option
            for option, value in (
                ("--max-gaussians", self.max_gaussians),
                ("--keep-ratio", distillation.keep_ratio),
                ("--target-size", distillation.target_size),
            )
            if value is not None
        ]
        _require(len(dials) <= 1, "size", "one of --max-gaussians, --keep-ratio and --target-size", " and ".join(dials))

    @property
    def budget_bytes(self) -> int | None:
        """The memory budget in bytes, or None for no limit."""
        return None if self.budget is None else bytes_from_text(self.budget)


@dataclass(frozen=True)
class RenderOptions:
    """Render a scene: the capture's own views, or an orbit around what the cameras look at.

    Attributes:
        scene: scene folder.
        path: which cameras: the capture's views or an orbit.
        split: which of the capture's views.
        frames: number of pictures in the orbit.
        radius: distance of the orbit from its centre as a multiple of the median camera distance.
        elevation_deg: height of the orbit above the horizontal plane; default the median elevation of the cameras.
        width: picture width in pixels; default the capture's.
        height: picture height in pixels; default from the width and the capture's aspect ratio.
        channel: what the pictures show.
        format: numbered PNG files or one MP4 film.
        fps: pictures per second of the film.
        background: colour behind everything; default the scene's own.
        out: folder (PNG) or file (MP4); default SCENE/renders.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        overwrite: replace pictures that exist.
    """

    scene: Positional[Path]
    path: Literal["views", "orbit"] = "views"
    split: Literal["test", "train", "all"] = "test"
    frames: int = 120
    radius: float = 1.0
    elevation_deg: _Number = None
    width: _Count = None
    height: _Count = None
    channel: Literal["color", "depth", "alpha"] = "color"
    format: Literal["png", "mp4"] = "png"
    fps: int = 30
    background: _Color = None
    out: _Path = None
    threads: _Count = None
    device: Device = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for option, value in (("--frames", self.frames), ("--width", self.width), ("--height", self.height), ("--fps", self.fps)):
            _require_at_least(option, value, 1)
        _require_at_least("--threads", self.threads, 1)
        _require(0.0 < self.radius < float("inf"), "--radius", "a factor above 0", self.radius)
        elevation_deg = self.elevation_deg
        _require(elevation_deg is None or -85.0 <= elevation_deg <= 85.0, "--elevation-deg", "−85 to 85", elevation_deg)
        _require_color("--background", self.background)


@dataclass(frozen=True)
class EvalOptions:
    """Measure a scene on its held-out views (PSNR, SSIM, LPIPS, depth error), or names of points against a data set's truth.

    Attributes:
        scene: scene folder; with --data also a run folder of scenewise train, or what scenewise predict or segment wrote.
        data: labelled scans to compare names of points with: a data set for a run, the scan itself for a scene.
        capture: the capture the scene was made from, when it has moved since.
        lpips_weights: LPIPS backbone and heads (safetensors); without it LPIPS is null.
        split: which views to measure on; "train" says how well the scene fits, not how well it generalises.  With --data: which
            scans of a data set ("val" is ScanNet's usual one).
        repeats: with a run: shifted grids whose answers are summed.
        save_images: also write the rendered views to SCENE/renders.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    scene: Positional[Path]
    data: _Path = None
    capture: _Path = None
    lpips_weights: _Path = None
    split: Literal["test", "train", "val"] = "test"
    repeats: int = 1
    save_images: bool = False
    threads: _Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        _require_at_least("--threads", self.threads, 1)
        _require_at_least("--repeats", self.repeats, 1)
        _require(
            self.split != "val" or self.data is not None, "--split val", "--data", "none", "views of a scene are test or train"
        )


@dataclass(frozen=True)
class ExportOptions:
    """Write a scene's Gaussians or points in a format other programs open.

    Attributes:
        scene: scene folder.
        format: "ply" for the usual splat file, "spz" for the compact one, "points" for the centres as a coloured point cloud.
        out: file to write; default beside the scene's own files.
        sh_degree: drop view-dependent colour above this degree.
        min_opacity: leave out fainter Gaussians ("points" only).
        georeferenced: write projected coordinates (.las or .laz, "points" only) and the coordinate system beside them.
        overwrite: replace a file that exists.
    """

    scene: Positional[Path]
    format: Literal["ply", "spz", "points"] = "ply"
    out: _Path = None
    sh_degree: _Count = None
    min_opacity: float = 0.1
    georeferenced: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        _require(self.sh_degree is None or 0 <= self.sh_degree <= 3, "--sh-degree", "0, 1, 2 or 3", self.sh_degree)
        _require(0.0 <= self.min_opacity <= 1.0, "--min-opacity", "a number in [0, 1]", self.min_opacity)
        _require(
            not self.georeferenced or self.format == "points",
            "--georeferenced",
            "--format points",
            f"--format {self.format}",
            "splat files hold local float32 coordinates; scene.json carries their georeference",
        )


@dataclass(frozen=True)
class SegmentOptions:
    """Name every point, splat or pixel with words, without training and without labels.

    Attributes:
        target: scene folder, captured folder (photographs with poses, RGB-D, nuScenes, ScanNet), point cloud or mesh file, or
            plain images: a folder of them or several files.
        out: folder to write; default the scene folder itself, needed for everything else.
        classes: names separated by commas, synonyms by bars ("wall, floor, sofa|couch"), or a file with a class per line; default
            the teacher's own list where it has one.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, or "files:DIR".
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
    """

    target: Positional[tuple[Path, ...]]
    out: _Path = None
    classes: _Text = None
    teacher: str = "small-clip"
    read_out: _Text = None
    text_from: _Text = None
    key_smoothing: bool = False
    prompt_denoising: _Number = None
    pamr: int = 0
    vote: Literal["none", "view", "set"] = "set"
    partition: Literal["smooth", "compact"] = "smooth"
    segments: _Path = None
    min_agreement: float = 0.0
    min_confidence: float = 0.0
    capture: _Path = None
    frames: _Count = None
    downscale: _Count = None
    max_points: int = 300_000
    cache_limit: str = "4GB"
    no_cache: bool = False
    resume: bool = False
    overwrite: bool = False
    seed: int = 0
    threads: _Count = None

    def __post_init__(self) -> None:
        _require(len(self.target) > 0, "TARGET", "a folder or a file", "none")
        for option, value in (
            ("--frames", self.frames),
            ("--downscale", self.downscale),
            ("--max-points", self.max_points),
            ("--threads", self.threads),
        ):
            _require_at_least(option, value, 1)
        for option, share in (("--min-agreement", self.min_agreement), ("--min-confidence", self.min_confidence)):
            _require(0.0 <= share <= 1.0, option, "a number in [0, 1]", share)
        _require_refinement(self.prompt_denoising, self.pamr)
        _require(
            self.segments is None or self.vote == "set",
            "--segments",
            "--vote set",
            f"--vote {self.vote}",
            "leave one of them out",
        )
        _require(not (self.resume and self.overwrite), "--resume and --overwrite", "one of the two", "both")
        bytes_from_text(self.cache_limit)

    @property
    def cache_bytes(self) -> int:
        """Disk space for the teacher's answers in bytes; 0 for none."""
        return 0 if self.no_cache else bytes_from_text(self.cache_limit)


@dataclass(frozen=True)
class QueryOptions:
    """Ask a segmented scene where something is: ranked segments with boxes, and heat maps.  Needs no images.

    Attributes:
        scene: folder that scenewise segment wrote.
        text: words or a sentence, such as "where can I sit".
        out: folder for the answer; default SCENE/query/<the text>.
        segments: at most this many segments, the best first.
        threshold: relevancy from which an element belongs to the answer; default found from the answer itself.
        views: number of heat-map pictures.
        capture: photographs to draw the heat over where there are no splats, when they have moved.
        threads: worker threads; default all cores this process may use.
    """

    scene: Positional[Path]
    text: Positional[str]
    out: _Path = None
    segments: int = 10
    threshold: _Number = None
    views: int = 4
    capture: _Path = None
    threads: _Count = None

    def __post_init__(self) -> None:
        _require(bool(self.text.strip()), "TEXT", "a word or a sentence", repr(self.text))
        _require_at_least("--segments", self.segments, 1)
        _require_at_least("--views", self.views, 0)
        _require_at_least("--threads", self.threads, 1)
        _require(self.threshold is None or 0.0 <= self.threshold <= 1.0, "--threshold", "a number in [0, 1]", self.threshold)


@dataclass(frozen=True)
class ViewOptions:
    """Look at a scene in the browser: splats and points, classes, confidence, and what answers a question.

    Attributes:
        scene: scene folder.
        ask: a question to begin with, such as "something to sit on".
        mode: what the colours show at first.
        port: where to listen; default 8080, or a free one where that is taken; 0 takes a free one.
        host: address to listen on; anything but this machine's own lets others see the scene.
        no_open: do not open a browser window.
        max_splats: show at most so many splats, the most opaque and largest.
        screenshot: write a picture of the page (PNG) through a browser without a window, and end.
        width: of that picture in pixels.
        height: of that picture in pixels.
    """

    scene: Positional[Path]
    ask: _Text = None
    mode: Literal["color", "classes", "confidence", "heat"] | None = None
    port: _Count = None
    host: str = "127.0.0.1"
    no_open: bool = False
    max_splats: int = 1_000_000
    screenshot: _Path = None
    width: int = 1280
    height: int = 800

    def __post_init__(self) -> None:
        _require_at_least("--max-splats", self.max_splats, 1)
        _require(self.port is None or 0 <= self.port <= 65535, "--port", "a number from 0 to 65535", self.port)
        for option, value in (("--width", self.width), ("--height", self.height)):
            _require(64 <= value <= 8192, option, "64 to 8192", value)


@dataclass(frozen=True)
class TrainOptions:
    """Train a network that names points, from images and class names alone.

    The first run with a teacher prepares the scans, for which it looks at every picture; later runs with other methods and seeds
    find them in the cache.  Several processes: torchrun --nproc-per-node N -m scenewise.cli.main train …

    Attributes:
        method: clip2scene, cns, hicl or union.
        data: folder of scans in ScanNet's layout (ScanNet, procedural rooms), nuScenes, or one captured folder.
        out: run folder to write.
        split: which scans of a data set.
        preset: settings of the method by data set: scannet, nuscenes or rooms.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, or "files:DIR".
        read_out: how dense features are read from the teacher: clip, maskclip, clearclip, sclip, naclip or sc_clip.
        text_from: for "files:DIR", the teacher whose text tower shares the features' space, or in whose space a network is to
            learn from labels; default the text beside the files.
        classes: names separated by commas, synonyms by bars ("wall, floor, sofa|couch"), or a file with a class per line; default
            the names of the data set's classes, or the teacher's own list.
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
        segments: geometric sets of points; "shipped" are ScanNet's own, which know the borders of its truth.
        cache: folder of prepared scans; default RUN/cache.
        seed: random seed; the same seed on the same machine gives the same bits.
        precision: "bfloat16" rounds the operands of convolutions where that is faster; "float16" on CUDA only.
        save_every: epochs between two checkpoints.
        resume: continue from the newest checkpoint in the run folder.
        overwrite: replace a run.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
        tensorboard: also write TensorBoard's files to RUN/tensorboard.
    """

    method: Positional[str]
    data: Path
    out: Path
    split: str = "train"
    preset: str = "scannet"
    teacher: str = "small-clip"
    read_out: _Text = None
    text_from: _Text = None
    classes: _Text = None
    epochs: _Count = None
    width: _Number = None
    voxel: _Number = None
    batch: _Count = None
    learning_rate: _Number = None
    backbone: Literal["minkunet14a", "minkunet18a", "minkunet34c", "spvcnn"] | None = None
    views: int = 100
    views_per_step: _Count = None
    picture_width: int = 320
    regions: _Text = None
    targets: _Text = None
    segments: Literal["auto", "mesh", "neighbours", "supervoxels", "shipped"] = "auto"
    cache: _Path = None
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    save_every: int = 1
    resume: bool = False
    overwrite: bool = False
    threads: _Count = None
    device: Device = "auto"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for option, value in (
            ("--epochs", self.epochs),
            ("--batch", self.batch),
            ("--views", self.views),
            ("--views-per-step", self.views_per_step),
            ("--picture-width", self.picture_width),
            ("--save-every", self.save_every),
            ("--threads", self.threads),
        ):
            _require_at_least(option, value, 1)
        _require_at_least("--seed", self.seed, 0)
        for option, number in (("--width", self.width), ("--voxel", self.voxel), ("--learning-rate", self.learning_rate)):
            _require(number is None or 0.0 < number < float("inf"), option, "a number above 0", number)
        _require(not (self.resume and self.overwrite), "--resume and --overwrite", "one of the two", "both")


@dataclass(frozen=True)
class PredictOptions:
    """Name the points of a cloud or scene with a trained network.  Needs no images.

    Attributes:
        run: folder that scenewise train wrote.
        target: point cloud or mesh (.ply, .las, .laz, .obj …), SemanticKITTI sweep (.bin), scene folder, or scan in ScanNet's
            layout.
        out: scene folder to write.
        repeats: grids, shifted against each other, whose answers are summed; 5 is usual where every point counts.
        max_voxels: larger clouds are named tile by tile; a smaller number needs less memory.
        overwrite: replace a scene folder.
        seed: of the shifts.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    run: Positional[Path]
    target: Positional[Path]
    out: Path
    repeats: int = 1
    max_voxels: int = 600_000
    overwrite: bool = False
    seed: int = 0
    threads: _Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        _require_at_least("--repeats", self.repeats, 1)
        _require_at_least("--max-voxels", self.max_voxels, 1000)
        _require_at_least("--threads", self.threads, 1)


@dataclass(frozen=True)
class Evaluate2dOptions:
    """Measure a 2D teacher on a labelled data set: mIoU by the protocol of training-free open-vocabulary segmentation.

    Attributes:
        dataset: which data set; it decides folders, label codes, words, window size and thresholds.
        root: its folder, as MMSegmentation's data preparation leaves it.
        teacher: what looks at the images: "small-clip" (built in), a Hugging Face id or folder of CLIP or SigLIP, or "files:DIR".
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
    """

    dataset: Positional[SegmentationBenchmark]
    root: Positional[Path]
    teacher: str = "small-clip"
    read_out: _Text = None
    text_from: _Text = None
    key_smoothing: bool = False
    prompt_denoising: _Number = None
    pamr: int = 0
    limit: _Count = None
    out: _Path = None
    logit_scale: _Number = None
    overwrite: bool = False
    threads: _Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        _require_at_least("--limit", self.limit, 1)
        _require_at_least("--threads", self.threads, 1)
        _require_refinement(self.prompt_denoising, self.pamr)
        _require(self.logit_scale is None or 0.0 < self.logit_scale < float("inf"), "--logit-scale", "above 0", self.logit_scale)
        _require(self.text_from is None or self.teacher.startswith("files:"), "--text-from", "--teacher files:DIR", self.teacher)


@dataclass(frozen=True)
class ConvertWeightsOptions:
    """Turn a checkpoint in torch's own format into safetensors, without running anything it contains.

    Attributes:
        checkpoint: file with the state dictionary of a CLIP with a ResNet (.pt, .pth, .bin), or a folder in Hugging Face layout
            with pytorch_model.bin.
        out: folder to make; give it to --teacher.
        tokenizer_from: folder with CLIP's tokenizer files, for a single file.
    """

    checkpoint: Positional[Path]
    out: Path
    tokenizer_from: _Path = None


@dataclass(frozen=True)
class DoctorOptions:
    """Report what this machine can do: versions, threads, instruction sets, which backend runs each kernel and why."""


@dataclass(frozen=True)
class DemoOptions:
    """Photograph a procedural room, reconstruct it, measure it and write everything a scene folder holds.  Needs no data.

    Attributes:
        out: folder for the capture and the scene.
        quick: a smaller room and fewer steps, for a first look or a test.
        seed: which room, and the random seed of the reconstruction.
        threads: worker threads; default all cores this process may use.
    """

    out: Path = Path("demo")
    quick: bool = False
    seed: int = 0
    threads: _Count = None

    def __post_init__(self) -> None:
        _require_at_least("--threads", self.threads, 1)
        _require_at_least("--seed", self.seed, 0)

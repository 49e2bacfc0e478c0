"""``scenewise demo``: everything the pipeline can do, on a room that is photographed on the spot."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.demo.capture import DEMO_FRAMES, DEMO_HEIGHT, DEMO_WIDTH, write_demo_capture
from scenewise.commands.demo.options import DemoOptions
from scenewise.commands.evaluate.run import EvaluationSettings, evaluate_scene
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import Answer, query
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.render.run import render_scene
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.engine.memory import peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, ScenewiseError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.io.listed_files import visible
from scenewise.io.scene_folder import read_scene
from scenewise.scenes.scenes import EvaluationCard
from scenewise.show.report.report import shown_views, write_report
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED, DEMO_SEEDS

CAPTURE_FOLDER, SCENE_FOLDER, MARKER_FILE = "room", "scene", "demo.json"
_FORMAT = "scenewise demo"
STEPS, MAX_GAUSSIANS = 2000, 80_000  # about 45 s on two cores
QUICK_STEPS, QUICK_MAX_GAUSSIANS = 100, 4000
QUICK_FRAMES, QUICK_WIDTH, QUICK_HEIGHT = 16, 96, 72
TEACHER_FRAMES, QUICK_TEACHER_FRAMES = 32, 4
QUESTIONS = ("where can I sit", "where are the books")

# What a person finds in the scene folder, in the order in which they want to know it.
_EXPLAINED = {
    "report.html": "pictures, curves, figures: open it in a browser",
    "splats.ply": "opens in any 3D Gaussian Splatting viewer",
    "splats.spz": "the same, compact",
    "splats_classes.ply": "the same splats in the colours of their classes",
    "points.ply": "points with a colour and a number per class",
    "labels_splats.safetensors": "class, object and confidence of every splat",
    "classes.json": "the words, their synonyms, colours and prompts",
    "features": "what the teacher saw, per splat: ask anything without images",
    "query": "answers: ranked places with boxes, heat maps",
    "scene.json": "cameras, frame of reference, provenance, evaluation card",
    "log.jsonl": "everything that happened, a line each",
    "checkpoints": "resume from here",
    "renders": "pictures from held-out views",
}


@dataclass(frozen=True)
class DemoSummary:
    """What the demo made and how good it is.

    Attributes:
        capture: folder of the photographs.
        scene: scene folder.
        evaluation: figures on held-out views, names included.
        answers: per question that was asked, the places that answer it, the best first.
        pictures: what to look at first.
        num_gaussians: size of the scene.
        seconds: by stage, and in all.
        peak_memory_bytes: of this process.
    """

    capture: Path
    scene: Path
    evaluation: EvaluationCard | None
    answers: dict[str, tuple[Answer, ...]]
    pictures: tuple[Path, ...]
    num_gaussians: int
    seconds: dict[str, float]
    peak_memory_bytes: int

    def text(self) -> str:
        """An annotated tree of what was written, and the figures."""
        lines = [f"{self.capture}/", "    an RGB-D capture with exact depth, classes and instances", f"{self.scene}/"]
        for name, meaning in _EXPLAINED.items():
            path = self.scene / name
            if path.exists():
                shown = f"{name}/" if path.is_dir() else name
                lines.append(f"    {shown:<27}{text_from_bytes(float(_size_of(path))):>9}   {meaning}")
        lines.append("")
        card = self.evaluation
        if card is not None and card.psnr is not None and card.ssim is not None:
            lines.append(f"PSNR {card.psnr:.2f} dB, SSIM {card.ssim:.3f} on {card.num_views} held-out views")
        if card is not None and card.miou is not None:
            lines.append(
                f"names of the splats: mIoU {100 * card.miou:.1f} % against the truth in the held-out views, without any label"
            )
        for question, answers in self.answers.items():
            places = ", ".join(f"{answer.name or 'something'} {answer.score:.2f}" for answer in answers[:5]) or "nowhere"
            lines.append(f"{question!r}: {places}")
        times = ", ".join(f"{name} {duration_text(seconds)}" for name, seconds in self.seconds.items())
        lines.append(
            f"{self.num_gaussians:,} Gaussians; {times}; {text_from_bytes(float(self.peak_memory_bytes))} of memory at most"
        )
        lines += ["", "look at:", *(f"    {picture}" for picture in self.pictures)]
        lines.append(f"    {(self.scene / 'report.html').resolve().as_uri()}")
        lines.append(f'    scenewise view {self.scene} --ask "{QUESTIONS[0]}"')
        return "\n".join(lines)


def run_demo(options: DemoOptions | None = None, progress: Progress | None = None) -> DemoSummary:
    """Photographs a procedural room, reconstructs it, names its splats, asks it a question, and reports.

    A demo folder from before is replaced; any other folder in the way is left alone.

    Raises:
        ConventionError: ``out`` holds something that is not a demo.
    """
    options = DemoOptions() if options is None else options
    progress = NullProgress() if progress is None else progress
    capture, scene = options.out / CAPTURE_FOLDER, options.out / SCENE_FOLDER
    _prepare(options.out)
    seconds: dict[str, float] = {}

    def timed(name: str, started: float) -> None:
        seconds[name] = time.monotonic() - started

    began = started = time.monotonic()
    frames = QUICK_FRAMES if options.quick else DEMO_FRAMES
    with progress.stage("photograph the room", frames) as stage:
        write_demo_capture(
            capture,
            seed=DEMO_SEEDS[(DEMO_SEEDS.index(DEFAULT_DEMO_SEED) + options.seed) % len(DEMO_SEEDS)],
            frames=frames,
            width=QUICK_WIDTH if options.quick else DEMO_WIDTH,
            height=QUICK_HEIGHT if options.quick else DEMO_HEIGHT,
            progress=lambda _done, _total: stage.advance(),
        )
    timed("photographs", started)

    started = time.monotonic()
    made = reconstruct(
        ReconstructOptions(
            capture=capture,
            out=scene,
            steps=QUICK_STEPS if options.quick else STEPS,
            max_gaussians=QUICK_MAX_GAUSSIANS if options.quick else MAX_GAUSSIANS,
            seed=options.seed,
            threads=options.threads,
        ),
        progress,
    )
    timed("reconstruction", started)

    started = time.monotonic()
    teacher_frames = QUICK_TEACHER_FRAMES if options.quick else TEACHER_FRAMES
    segment(
        SegmentOptions(target=(scene,), frames=teacher_frames, seed=options.seed, threads=options.threads, overwrite=True),
        progress,
    )
    timed("names", started)

    started = time.monotonic()
    answered = [query(QueryOptions(scene=scene, text=question, threads=options.threads), progress) for question in QUESTIONS]
    timed("answers", started)

    started = time.monotonic()
    render_scene(RenderOptions(scene=scene, threads=options.threads, overwrite=True), progress)
    with compute_threads(options.threads):
        described = read_scene(scene)
        shown = frozenset(entry.name for entry in shown_views(described))
        evaluated = evaluate_scene(scene, EvaluationSettings(keep=shown), scene=described, progress=progress)
        write_report(scene, scene=evaluated.scene, renders=evaluated.renders, progress=progress)
    timed("pictures", started)
    seconds["in all"] = time.monotonic() - began
    answers = {summary.text_asked: summary.answers for summary in answered}
    pictures = tuple(path for summary in answered for path in sorted(summary.files) if path.suffix == ".png")
    return DemoSummary(capture, scene, evaluated.card, answers, pictures, made.num_gaussians, seconds, peak_resident_bytes())


def _prepare(out: Path) -> None:
    """Makes ``out`` an empty demo folder.  Only a folder that carries our mark is emptied, and only of what a demo writes."""
    if out.is_dir() and visible(out.iterdir()):
        try:
            is_ours = read_json_object(out / MARKER_FILE).text("format") == _FORMAT
        except (ScenewiseError, OSError):
            is_ours = False
        if not is_ours:
            fix = "choose another folder with --out"
            raise ConventionError(f"--out {out}", expected="a new folder or an earlier demo", got="a folder in use", fix=fix)
        for folder in (out / CAPTURE_FOLDER, out / SCENE_FOLDER):
            shutil.rmtree(folder, ignore_errors=True)
    atomic_write_json(out / MARKER_FILE, {"format": _FORMAT})


def _size_of(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else path.stat().st_size

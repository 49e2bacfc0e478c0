"""The positive control of the teacher: two blocks that want different things of the decoder, one after the other.

Two halves of a town are photographed in different light, so that the blocks' photographs disagree in appearance.  One worker
trains them in turn, a long slot each.  While one learns, the other's anchors lie still, but what they decode to changes with the
decoder: that is the drift.  It is measured where the paper's idea says it happens, on the idle block's anchors, from the moment
it was put away to the moment it is taken up again.

Arms: no teacher; teachers of several momenta; a placebo, a teacher that is the student itself (momentum 0), which must change
nothing; and a null, the same town in one light, where there is less to drift for.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from scenewise.geometry.spherical_harmonics import Y00
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.methods.momentum_gs.compose import City, block_trainer
from scenewise.methods.momentum_gs.config import MomentumConfig
from scenewise.methods.momentum_gs.figures import quality
from scenewise.methods.momentum_gs.merging import block_part, merged_view
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.parts.splats.anchors.decoder import copied
from scenewise.parts.splats.anchors.field import AnchorField, DecodedAnchors, decoded_anchors
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.studies.arms import Outcome
from scenewise.studies.city.arms import CityArm, config_of
from scenewise.studies.city.towns import TownBench

EVENING = (1.0, 0.78, 0.55)
"""What the second half's light does to sRGB values."""
_VIEWS = 12  # that an idle block is looked at from
SLOT_STEPS, ROUNDS = 300, 4


@dataclass(frozen=True)
class ControlArm:
    """One run of the control.

    Attributes:
        teacher: of the shared decoder, or None.
        two_lights: whether the halves are photographed in different light.
        frozen: the last slot of each block is one in which the decoder does not change.
    """

    teacher: TeacherSettings | None = None
    two_lights: bool = True
    frozen: bool = False


@dataclass(frozen=True)
class Drift:
    """How far idle anchors move on average from slot to slot.

    Attributes:
        color: root mean square change of the children's colours, in [0, 1].
        opacity: likewise of their opacities.
        log_scale: likewise of the logarithms of their scales.
        forgotten: PSNR that idle blocks lose by it on photographs that they were trained with, dB.
        lag: distance between teacher and student at the ends of slots.
        own_psnr: mean of both blocks on photographs that they were trained with, each alone, when all is over, dB.
        psnr: of the town's held-out views, blocks together, against photographs in the light of the block that owns the camera.
    """

    color: float
    opacity: float
    log_scale: float
    forgotten: float
    lag: float
    own_psnr: float
    psnr: float


CONTROLS: Mapping[str, ControlArm] = {
    "control_no_teacher": ControlArm(),
    "control_one_light": ControlArm(two_lights=False),
    "control_placebo": ControlArm(TeacherSettings(momentum=0.0)),
    "control_0p9": ControlArm(TeacherSettings()),
    "control_0p99": ControlArm(TeacherSettings(momentum=0.99)),
    "control_0p999": ControlArm(TeacherSettings(momentum=0.999)),
    "control_frozen": ControlArm(frozen=True),
    "control_0p9_frozen": ControlArm(TeacherSettings(), frozen=True),
    "control_once_a_slot": ControlArm(TeacherSettings(momentum=0.5, period=SLOT_STEPS)),
}
"""Arms of the control."""


def in_two_lights(capture: Capture, partition: Partition) -> Capture:
    """The capture with the photographs of cameras over every block but the first in the evening."""
    return replace(capture, frames=tuple(_lit(frame, partition) for frame in capture.frames))


def _lit(frame: Frame, partition: Partition) -> Frame:
    center = frame.camera.centers_in_world.numpy()[None]
    load = frame.load_image
    if load is None or int(partition.block_of(center)[0]) == 0:
        return frame

    def evening() -> ImageU8:
        return (load().astype(np.float32) * np.array(EVENING, dtype=np.float32) + 0.5).astype(np.uint8)

    return replace(frame, load_image=evening)


def control_city(bench: TownBench, two_lights: bool) -> City:
    """The town in two halves, each trained by the cameras over it alone."""
    city = bench.city((2, 1, 1))
    centers = torch.stack([frame.camera.centers_in_world for frame in city.capture.train_frames]).numpy()
    belongs = city.partition.block_of(centers)[:, None] == np.arange(2)
    capture = in_two_lights(city.capture, city.partition) if two_lights else city.capture
    return replace(city, capture=capture, belongs=belongs)


def control_config(arm: ControlArm, bench: TownBench, slot_steps: int, rounds: int) -> MomentumConfig:
    """Two blocks, one worker, long slots."""
    config = config_of(CityArm(grid=(2, 1, 1), teacher=arm.teacher, slot_steps=slot_steps, frozen=arm.frozen), bench)
    growth = replace(config.block.growth, refine_from=0, refine_until=1)  # idle anchors are compared with themselves
    return replace(config, block=replace(config.block, steps=slot_steps * rounds, growth=growth))


def drift_of(arm: ControlArm, bench: TownBench, folder: Path, *, slot_steps: int, rounds: int) -> Drift:
    """Trains the two blocks in turn and watches the idle one."""
    city = control_city(bench, arm.two_lights)
    trainer = block_trainer(
        city, control_config(arm, bench, slot_steps, rounds), folder, seed=bench.seed, record={"control": str(arm)}
    )
    assert trainer.shared is not None, "the decoder is shared"
    background = torch.tensor(city.capture.background or (0.0, 0.0, 0.0))
    changes: list[tuple[float, float, float]] = []
    forgotten: list[float] = []
    put_away: dict[int, tuple[Anchors, DecoderHeads]] = {}
    while trainer.steps_done < trainer.total_steps:
        block, has_learned = (trainer.steps_done // slot_steps) % 2, trainer.learns
        for _ in range(slot_steps - 1):
            trainer.step()
        field = trainer.in_hand[block].field
        assert isinstance(field, AnchorField), "anchors are trained"
        anchors = Anchors(**{name: value.detach().clone() for name, value in vars(field.anchors()).items()})
        trainer.step()
        other = 1 - block
        if other in put_away and has_learned:
            frames = _looked_at(city, other)
            idle, before = put_away[other]
            now = trainer.shared.decoder.heads()
            changes.append(moved(idle, before, now, [frame.camera for frame in frames]))
            then, since = (quality(_decoded_by(idle, heads), frames, background) for heads in (before, now))
            assert then is not None and since is not None, "blocks have views"
            forgotten.append(then[0] - since[0])
        put_away[block] = (anchors, copied(trainer.shared.decoder.heads()))
    color, opacity, log_scale = np.mean(changes, axis=0)
    lag = float(np.mean(trainer.drift)) if trainer.drift else 0.0
    alone = [quality(trainer.finished(block).field.gaussians, _looked_at(city, block), background) for block in range(2)]
    own = float(np.mean([0.0 if found is None else found[0] for found in alone]))
    shown = _psnr(trainer.finished, city, background)
    return Drift(float(color), float(opacity), float(log_scale), float(np.mean(forgotten)), lag, own, shown)


def _looked_at(city: City, block: int) -> list[Frame]:
    frames = city.frames(block)
    return frames[:: max(1, len(frames) // _VIEWS)]


def _decoded_by(anchors: Anchors, heads: DecoderHeads) -> SeenBy:
    return lambda camera: decoded_anchors(anchors, heads, camera).gaussians


def drift_outcome(arm: ControlArm, bench: TownBench, quick: bool) -> Outcome:
    """One run of the control as an arm."""
    started = time.monotonic()
    bench.work.mkdir(parents=True, exist_ok=True)
    _ = bench.coarse
    with tempfile.TemporaryDirectory(dir=bench.work, prefix=".control-") as folder:
        slot_steps, rounds = (10, 2) if quick else (SLOT_STEPS, ROUNDS)
        found = drift_of(arm, bench, Path(folder), slot_steps=slot_steps, rounds=rounds)
    metrics: dict[str, float | None] = {
        "psnr": found.psnr,
        "color_drift": found.color,
        "opacity_drift": found.opacity,
        "scale_drift": found.log_scale,
        "forgotten": found.forgotten,
        "own_psnr": found.own_psnr,
        "drift": found.lag,
    }
    return Outcome(metrics, train_seconds=time.monotonic() - started)


@torch.no_grad()
def moved(anchors: Anchors, before: DecoderHeads, after: DecoderHeads, cameras: list[Cameras]) -> tuple[float, float, float]:
    """Root mean square change of what anchors decode to, between two decoders: colours, opacities, logarithms of scales.

    Colours and scales are compared of children that both decoders show.
    """
    sums, counts = np.zeros(3), np.zeros(3)
    for camera in cameras:
        a, b = decoded_anchors(anchors, before, camera), decoded_anchors(anchors, after, camera)
        in_a, in_b = _common(a, b, anchors.slots)
        assert a.opacities is not None and b.opacities is not None, "anchors were decoded"
        for place, (one, two) in enumerate(
            (
                (_rgb(a)[in_a], _rgb(b)[in_b]),
                (a.opacities.clamp_min(0.0), b.opacities.clamp_min(0.0)),
                (a.gaussians.log_scales[in_a], b.gaussians.log_scales[in_b]),
            )
        ):
            sums[place] += float((one - two).square().sum())
            counts[place] += one.numel()
    color, opacity, log_scale = np.sqrt(sums / np.maximum(counts, 1.0))
    return float(color), float(opacity), float(log_scale)


def _rgb(decoded: DecodedAnchors) -> Float[torch.Tensor, "n 3"]:
    return 0.5 + Y00 * decoded.gaussians.sh0[:, 0]


def _common(a: DecodedAnchors, b: DecodedAnchors, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
    assert a.row_of is not None and a.slot_of is not None and b.row_of is not None and b.slot_of is not None
    own, other = a.row_of * slots + a.slot_of, b.row_of * slots + b.slot_of
    return torch.isin(own, other), torch.isin(other, own)


def _psnr(finished: Callable[[int], SplatTrainer], city: City, background: torch.Tensor) -> float:
    parts = [block_part(finished(block), city.partition, block) for block in range(2)]
    found = quality(merged_view(lambda: iter(parts)), city.capture.test_frames, background)
    assert found is not None, "a town holds views out"
    return found[0]

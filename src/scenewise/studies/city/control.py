"""The positive control of the teacher: two blocks that want different things of the decoder, one after the other.

Two halves of a town are photographed in different light, so that the blocks' photographs disagree in appearance.  One worker
trains them in turn, a long slot each.  While one learns, the other's anchors lie still, but what they decode to changes with the
decoder: that is the drift.  It is measured where the paper's idea says it happens, on the idle block's anchors, from the moment
it was put away to the moment it is taken up again.

Arms: no teacher; teachers of several momenta; a placebo, a teacher that is the student itself (momentum 0), which must change
nothing; and a null, the same town in one light, where there is less to drift for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.methods.momentum_gs.compose import City, block_trainer
from scenewise.methods.momentum_gs.config import MomentumConfig
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.parts.splats.anchors.decoder import copied
from scenewise.parts.splats.anchors.field import DecodedAnchors, decoded_anchors
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.studies.city.arms import config_of
from scenewise.studies.city.towns import TownBench

EVENING = (1.0, 0.78, 0.55)
"""What the second half's light does to sRGB values."""
_VIEWS = 12  # that an idle block is looked at from


@dataclass(frozen=True)
class ControlArm:
    """One run of the control.

    Attributes:
        teacher: of the shared decoder, or None.
        two_lights: whether the halves are photographed in different light.
    """

    teacher: TeacherSettings | None = None
    two_lights: bool = True


@dataclass(frozen=True)
class Drift:
    """How far idle anchors move on average from slot to slot.

    Attributes:
        color: root mean square change of the children's colours, in [0, 1].
        opacity: likewise of their opacities.
        log_scale: likewise of the logarithms of their scales.
        lag: distance between teacher and student at the ends of slots.
        psnr: of the town's held-out views, blocks together, against photographs in the light of the block that owns the camera.
    """

    color: float
    opacity: float
    log_scale: float
    lag: float
    psnr: float


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
    from scenewise.studies.city.arms import CityArm

    config = config_of(CityArm(grid=(2, 1, 1), teacher=arm.teacher, slot_steps=slot_steps, frozen=False), bench)
    growth = replace(config.block.growth, refine_from=0, refine_until=1)  # idle anchors are compared with themselves
    return replace(config, block=replace(config.block, steps=slot_steps * rounds, growth=growth))


def drift_of(arm: ControlArm, bench: TownBench, folder: Path, *, slot_steps: int, rounds: int) -> Drift:
    """Trains the two blocks in turn and watches the idle one."""
    city = control_city(bench, arm.two_lights)
    trainer = block_trainer(
        city, control_config(arm, bench, slot_steps, rounds), folder, seed=bench.seed, record={"control": str(arm)}
    )
    assert trainer.shared is not None, "the decoder is shared"
    changes: list[tuple[float, float, float]] = []
    put_away: dict[int, tuple[Anchors, DecoderHeads]] = {}
    while trainer.steps_done < trainer.total_steps:
        block = (trainer.steps_done // slot_steps) % 2
        for _ in range(slot_steps - 1):
            trainer.step()
        field = trainer.in_hand[block].field
        anchors = Anchors(**{name: value.detach().clone() for name, value in vars(field.anchors()).items()})  # type: ignore[attr-defined]
        trainer.step()
        other = 1 - block
        if other in put_away:
            cameras = [frame.camera for frame in city.frames(other)][:: max(1, len(city.frames(other)) // _VIEWS)]
            idle, before = put_away[other]
            changes.append(moved(idle, before, trainer.shared.decoder.heads(), cameras))
        put_away[block] = (anchors, copied(trainer.shared.decoder.heads()))
    color, opacity, log_scale = np.mean(changes, axis=0)
    lag = float(np.mean(trainer.drift)) if trainer.drift else 0.0
    return Drift(float(color), float(opacity), float(log_scale), lag, _psnr(trainer.finished, city))


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
    from scenewise.geometry.spherical_harmonics import Y00

    return 0.5 + Y00 * decoded.gaussians.sh0[:, 0]


def _common(a: DecodedAnchors, b: DecodedAnchors, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
    assert a.row_of is not None and a.slot_of is not None and b.row_of is not None and b.slot_of is not None
    own, other = a.row_of * slots + a.slot_of, b.row_of * slots + b.slot_of
    return torch.isin(own, other), torch.isin(other, own)


def _psnr(finished: Callable[[int], object], city: City) -> float:
    from scenewise.methods.momentum_gs.figures import quality
    from scenewise.methods.momentum_gs.merging import block_part, merged_view

    parts = [block_part(finished(block), city.partition, block) for block in range(2)]  # type: ignore[arg-type]
    found = quality(merged_view(parts), city.capture.test_frames, torch.tensor(city.capture.background or (0.0, 0.0, 0.0)))
    assert found is not None, "a town holds views out"
    return found[0]

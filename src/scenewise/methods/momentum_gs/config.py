"""Settings of Momentum-GS.

"Paper" is Fan et al. 2024, arXiv 2412.04887; "released" its code where the paper is silent or the two differ.
"""

from dataclasses import dataclass, field, replace

from scenewise.errors import ConventionError
from scenewise.methods.momentum_gs.options import BlockOptions
from scenewise.methods.momentum_gs.settling import SettlingSettings
from scenewise.methods.momentum_gs.slots import SlotOrder
from scenewise.methods.momentum_gs.teaching import TeacherSettings
from scenewise.methods.momentum_gs.weighting import WeightingSettings
from scenewise.parts.splats.anchors.growing import GrowthSettings
from scenewise.parts.splats.anchors.recipes import FAST_ANCHORS, AnchorRecipe
from scenewise.parts.splats.exposure import ExposureSettings
from scenewise.parts.splats.recipes import PAPER_FROM_STEPS


@dataclass(frozen=True)
class AssignmentSettings:
    """Which cameras train a block.

    Attributes:
        threshold: a camera outside of a block belongs to it where 1 − SSIM of its view with and without the block's anchors is
            larger (released: 0.03, or 0.05 for Rubble and MatrixCity).
        downscale: views are compared at 1/N of the size that is trained with; 1 as released.
        fewest_cameras: a block with fewer is given to a neighbour.
        fewest_anchors: likewise, anchors of the coarse model.
    """

    threshold: float = 0.03
    downscale: int = 2
    fewest_cameras: int = 8
    fewest_anchors: int = 50


@dataclass(frozen=True)
class BackgroundSettings:
    """What a block knows of the rest of the scene.  Released: everything, from the same points as every other block.

    Attributes:
        most: anchors of other blocks, as a multiple of the block's own.
        angle: anchors that lie within a cell of this part of their distance from the block become one; it grows until they are
            few enough.
    """

    most: float = 0.5
    angle: float = 0.02


@dataclass(frozen=True)
class MomentumConfig:
    """Settings of one run.

    Attributes:
        coarse: the model of the whole scene that blocks are cut from.
        coarse_downscale: its views are at 1/N of the size that blocks are trained with.
        block: how each block is trained; its steps are those of one block, a slot of them with a frozen decoder.
        blocks: along the axes of the partition; None: as many as memory asks for.
        box: of the data set, lower and upper corner in its world; None: found from cameras and points.
        workers: blocks that are trained at the same time.
        slot_steps: see :class:`~scenewise.methods.momentum_gs.slots.SlotPlan`.
        order: likewise.
        frozen_round: end with a slot for each block in which the decoder does not change, so that all anchors are finished with
            the decoder they will be decoded by.  Meant but never reached in the released code.
        teacher: the momentum teacher, or None.
        weighting: of the blocks' gradients of the decoder, or None.
        shares_decoder: one decoder for all blocks; False gives each its own.
        assignment: of cameras to blocks.
        background: what a block knows of the others.
        settling: how anchors become explicit Gaussians.
    """

    coarse: AnchorRecipe = field(default_factory=AnchorRecipe)
    coarse_downscale: int = 1
    block: AnchorRecipe = field(
        default_factory=lambda: AnchorRecipe(
            steps=60_000,
            growth=GrowthSettings(gather_from=300, refine_from=300, refine_until=30_000, refine_every=25, levels=(128, 32, 8)),
        )
    )
    blocks: tuple[int, int, int] | None = None
    box: tuple[float, float, float, float, float, float] | None = None
    workers: int = 1
    slot_steps: int = 500
    order: SlotOrder = "round_robin"
    frozen_round: bool = True
    teacher: TeacherSettings | None = field(default_factory=TeacherSettings)
    weighting: WeightingSettings | None = field(default_factory=WeightingSettings)
    shares_decoder: bool = True
    assignment: AssignmentSettings = field(default_factory=AssignmentSettings)
    background: BackgroundSettings = field(default_factory=BackgroundSettings)
    settling: SettlingSettings = field(default_factory=SettlingSettings)

    def __post_init__(self) -> None:
        ours, theirs = (
            (decoder.slots, decoder.channels, decoder.hidden) for decoder in (self.block.decoder, self.coarse.decoder)
        )
        if ours != theirs:
            raise ConventionError(
                "decoder of the blocks",
                expected=f"slots, channels and hidden units {theirs} as the coarse model's, which they go on from",
                got=ours,
                fix="change both",
            )


PAPER = MomentumConfig()
"""The paper's run: 60,000 steps of each block."""

FAST_MOMENTUM = MomentumConfig(
    coarse=replace(FAST_ANCHORS, steps=1_000),
    coarse_downscale=2,
    block=replace(FAST_ANCHORS, steps=2_000),
    slot_steps=100,
    # A thirtieth of the steps leaves little time to be held back: a town that no figure is reported of, in four blocks, had 28.59
    # dB with the paper's 50, 28.70 with 5, 28.59 with 1 and 28.62 without a teacher.
    teacher=TeacherSettings(weight=5.0),
)
"""Minutes on a CPU."""


def momentum_config(options: BlockOptions, steps: int | None, exposure: ExposureSettings | None) -> MomentumConfig:
    """The settings that a command line asks for.

    Args:
        options: of the method.
        steps: of each block; None for the preset's.  Many take the paper's settings.
        exposure: as asked for.
    """
    config = PAPER if steps is not None and steps >= PAPER_FROM_STEPS else FAST_MOMENTUM
    block = replace(config.block, steps=config.block.steps if steps is None else steps, exposure=exposure)
    coarse = config.coarse if options.coarse_steps is None else replace(config.coarse, steps=options.coarse_steps)
    teacher = config.teacher
    if options.momentum is not None:
        teacher = None if options.momentum == 0.0 else replace(teacher or TeacherSettings(), momentum=options.momentum)
    return replace(
        config,
        coarse=coarse,
        block=block,
        blocks=options.grid,
        workers=options.all_workers,
        slot_steps=config.slot_steps if options.slot_steps is None else options.slot_steps,
        order=options.slot_order or config.order,
        teacher=teacher,
        shares_decoder=not options.own_decoders,
        settling=config.settling if options.settle_steps is None else replace(config.settling, steps=options.settle_steps),
    )

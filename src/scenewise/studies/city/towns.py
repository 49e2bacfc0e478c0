"""Towns of the study: a capture, exact depth, a coarse model, and how it is cut."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from scenewise.engine.progress import NullProgress
from scenewise.io.json_values import fingerprint_of
from scenewise.io.ply.gaussians import read_gaussians_ply, write_gaussians_ply
from scenewise.io.product_kinds import COARSE, STUDY_TRAINING
from scenewise.io.products import made
from scenewise.io.resizing import downscaled_capture
from scenewise.methods.momentum_gs.assignment import with_cameras
from scenewise.methods.momentum_gs.coarse import COARSE_MODEL_FILE, CoarseModel, coarse_of, read_coarse, write_coarse
from scenewise.methods.momentum_gs.compose import City
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM, AssignmentSettings
from scenewise.methods.momentum_gs.partition import balanced_partition
from scenewise.methods.momentum_gs.planning import found_frame
from scenewise.parts.splats.anchors.building import build_anchor_trainer
from scenewise.parts.splats.anchors.recipes import AnchorRecipe, with_anchor_cap
from scenewise.parts.splats.building import build_trainer
from scenewise.parts.splats.recipes import FAST, SplatRecipe, with_cap
from scenewise.parts.splats.reconstruction import detached
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.studies.arms import digest
from scenewise.worlds.town import town
from scenewise.worlds.town_captures import town_capture, town_depth


@dataclass(frozen=True)
class TownSize:
    """How large everything is.

    Attributes:
        views: photographs.
        width: of each, pixels.
        height: likewise.
        points: of the sparse cloud.
        coarse_steps: of the coarse models, on pictures of half the size.
        block_steps: of each block; a scene that is trained as one takes as many as four blocks together.
        slot_steps: that a block has the shared decoder to itself.
        anchors: that the scene may have when all is trained.
        gaussians: explicit ones that the scene may have.
        first_town: seed of the first town; the others follow.
    """

    views: int = 160
    width: int = 240
    height: int = 160
    points: int = 20_000
    coarse_steps: int = 1_000
    block_steps: int = 1_200
    slot_steps: int = 100
    anchors: int = 16_000
    gaussians: int = 80_000
    first_town: int = 11


QUICK_SIZE = TownSize(
    views=24, width=60, height=40, points=1_500, coarse_steps=40, block_steps=40, slot_steps=10, anchors=600, gaussians=2_400
)


_ANY = AssignmentSettings(fewest_cameras=1, fewest_anchors=1)
"""Of the number of blocks that an arm is about none is given away."""


@final
class TownBench:
    """One town, by the seed of the study; what is dear is made once.

    Args:
        size: of everything.
        seed: of the study: each has a town of its own.
        work: folder of what is kept.
    """

    def __init__(self, size: TownSize, seed: int, work: Path) -> None:
        self.size, self.seed = size, seed
        self.work = work / f"town_{seed}"

    @cached_property
    def capture(self) -> Capture:
        """The photographs."""
        size = self.size
        return photographed(town_capture(size.first_town + self.seed, size.views, size.width, size.height, points=size.points))

    def depth(self, camera: Cameras) -> DepthMap:
        """Where surfaces really are."""
        return town_depth(self._town, camera)

    @cached_property
    def _town(self) -> Any:
        return town(self.size.first_town + self.seed)

    @property
    def anchor_recipe(self) -> AnchorRecipe:
        """Of anchors, whatever the number of blocks; the cap is a block's."""
        return FAST_MOMENTUM.block

    def coarse_recipe(self) -> AnchorRecipe:
        """Of the coarse model of anchors."""
        most = self.size.anchors // 2
        return replace(
            with_anchor_cap(FAST_MOMENTUM.coarse, most), steps=self.size.coarse_steps, max_initial_anchors=3 * most // 4
        )

    def explicit_recipe(self, gaussians: int, steps: int) -> SplatRecipe:
        """Of explicit Gaussians."""
        return replace(with_cap(FAST, gaussians), steps=steps, depth=None, max_initial_points=max(1, gaussians // 2))

    @cached_property
    def coarse(self) -> CoarseModel:
        """The coarse model of anchors."""
        recipe = self.coarse_recipe()
        record = {"recipe": asdict(recipe), "size": asdict(self.size), "seed": self.seed}

        def make(place: Path) -> Mapping[str, Any]:
            trainer = build_anchor_trainer(downscaled_capture(self.capture, 2), self.capture.points, recipe, seed=self.seed)
            trainer.run()
            write_coarse(place / COARSE_MODEL_FILE, coarse_of(trainer))
            return {"seconds": trainer.seconds}

        folder = self.work / f"coarse_{digest(record)}"
        return made(folder, COARSE, fingerprint_of(record), make, lambda path: read_coarse(path / COARSE_MODEL_FILE)).value

    @cached_property
    def explicit_coarse(self) -> Gaussians:
        """The coarse model of explicit Gaussians, trained on the same pictures for as many steps."""
        recipe = self.explicit_recipe(self.size.gaussians // 2, self.size.coarse_steps)
        record = {"explicit": asdict(recipe), "size": asdict(self.size), "seed": self.seed}
        fingerprint = digest(record)

        def make(place: Path) -> Mapping[str, Any]:
            trainer = build_trainer(downscaled_capture(self.capture, 2), self.capture.points, recipe, seed=self.seed)
            trainer.run()
            write_gaussians_ply(place / "splats.ply", detached(trainer.field.gaussians()))
            return {"seconds": trainer.seconds}

        folder = self.work / f"explicit_{fingerprint}"
        return made(folder, STUDY_TRAINING, fingerprint, make, lambda path: read_gaussians_ply(path / "splats.ply")).value

    def city(self, grid: tuple[int, int, int]) -> City:
        """The town in blocks."""
        frames = self.capture.train_frames
        cameras = [frame.camera for frame in frames]
        points = self.capture.points
        assert points is not None, "drone captures come with points"
        frame, _ = found_frame(cameras, points.points_in_world, self.capture.up_in_world)
        partition = balanced_partition(frame, grid, points.points_in_world)
        partition, belongs, said = with_cameras(partition, self.coarse, cameras, _ANY, NullProgress())
        assert not said, "no block is given away"
        return City(self.capture, self.coarse, partition, belongs, points)

    def whole(self) -> City:
        """The town as one block."""
        city = self.city((1, 1, 1))
        return replace(city, belongs=np.ones_like(city.belongs))


def photographed(capture: Capture) -> Capture:
    """The capture with its pictures in memory: a procedural photograph takes longer than a step of training."""

    def taken(frame: Frame) -> Frame:
        assert frame.load_image is not None
        image_u8 = frame.load_image()
        return replace(frame, load_image=lambda: image_u8)

    return replace(capture, frames=tuple(map(taken, capture.frames)))

"""Momentum-GS in the flow of ``scenewise reconstruct``: a list of products before and after the blocks' own training.

What a stage has made lies in the scene folder, so every stage can be killed and taken up again::

    coarse/               the coarse model of the whole scene, see coarse.py
    city/partition.json   cells, their owners, and which cameras train which block
    blocks/               blocks that wait for their turn; settled ones, and what each gives to the scene
    city/anchors.ply      all anchors; decoder.safetensors beside it
    city/city.json        figures of blocks, seams, and what all of it cost; pictures of seams and from above beside it
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, final

import numpy as np

from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.option_values import require
from scenewise.errors import ConventionError
from scenewise.io.city_datasets import scene_name
from scenewise.io.json_values import fingerprint_of, json_ready
from scenewise.io.ply.points import read_points_ply
from scenewise.io.product_kinds import COARSE
from scenewise.io.scene_folder import POINTS_FILE
from scenewise.methods.momentum_gs.assembly import Assembly
from scenewise.methods.momentum_gs.assignment import with_cameras
from scenewise.methods.momentum_gs.coarse import COARSE_FOLDER, COARSE_MODEL_FILE, CoarseModel, coarse_model
from scenewise.methods.momentum_gs.compose import BLOCKS_FOLDER, City, block_trainer
from scenewise.methods.momentum_gs.config import MomentumConfig, momentum_config
from scenewise.methods.momentum_gs.cuts import Cut, read_cut, write_cut
from scenewise.methods.momentum_gs.delivery import deliver
from scenewise.methods.momentum_gs.merging import CITY_FOLDER
from scenewise.methods.momentum_gs.options import BlockOptions
from scenewise.methods.momentum_gs.partition import Partition, balanced_partition, even_partition, partition_json
from scenewise.methods.momentum_gs.planning import (
    BlockSizes,
    block_sizes,
    fixed_bytes,
    found_frame,
    frame_of_box,
    gaussians_of,
    grid_of,
)
from scenewise.methods.momentum_gs.scenes import PUBLISHED_SCENES
from scenewise.methods.momentum_gs.trainer import BlockTrainer
from scenewise.parts.splats.anchors.recipes import with_anchor_cap
from scenewise.parts.splats.fitting import points_of
from scenewise.parts.splats.reconstruction import (
    FindPoints,
    FinishedSplats,
    SceneTrainer,
    SplatRequest,
    SplatRun,
    SplatStart,
    timed,
)
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud

PARTITION_FILE = "partition.json"


@final
class BlockStages:
    """One run; see :class:`scenewise.parts.splats.reconstruction.SplatMethod`.

    Args:
        run: what is known before anything is trained.
        options: of the method.
        changed: settings of the method → the same with what experts changed.
    """

    def __init__(self, run: SplatRun, options: BlockOptions, changed: Callable[[MomentumConfig], MomentumConfig]) -> None:
        self._run = run
        self._config = published(changed(momentum_config(options, run.steps, run.recipe.exposure)), run.capture)
        self._sizes: BlockSizes | None = None
        self._city: City | None = None
        self._cut_as: Cut | None = None

    # ------------------------------------------------------------------------------------------------------- the list of products

    def points(self, find: FindPoints, found: Checkpoint | None) -> tuple[PointCloud, str]:
        """Initial points as the file holds them: found once."""
        ranks, path = self._run.ranks, self._run.folder / POINTS_FILE
        provenance: str | None = None
        if ranks.is_first:
            provenance = str(found.config["initial_points"]) if found is not None and path.exists() else find()[1]
        provenance = ranks.shared_bytes(None if provenance is None else provenance.encode()).decode()
        deliver(ranks, path)
        return read_points_ply(path), provenance

    def prepare(self, points: PointCloud | None) -> None:
        """The coarse model, and how it is cut into blocks."""
        assert points is not None, "they were found, or read"
        run = self._run
        self._sizes = self._planned(points)
        config = self._config
        if run.ranks.is_first:
            coarse_model(run, points, config.coarse, config.coarse_downscale)
        for name in (COARSE_MODEL_FILE, COARSE.mark):
            deliver(run.ranks, run.folder / COARSE_FOLDER / name)
        model = coarse_model(run, points, config.coarse, config.coarse_downscale)  # found
        with timed(run.journal, "partition"):
            self._city = self._cut(model, points)

    def record(self) -> Mapping[str, Any]:
        """The settings, and how the scene was cut."""
        city = self._made_city
        return {
            "momentum_gs": json_ready(asdict(self._config)),
            "partition": partition_json(city.partition),
            "belongs": fingerprint_of(city.belongs.tolist()),
        }

    def trainer(self, points: PointCloud | None, record: Mapping[str, Any], found: Checkpoint | None) -> BlockTrainer:
        """Of all blocks."""
        run = self._run
        trainer = block_trainer(
            self._made_city,
            self._config,
            run.folder / BLOCKS_FOLDER,
            seed=run.seed,
            record=record,
            data_hash=run.data_hash,
            cache_bytes=run.cache_bytes,
            device=run.device,
            ranks=run.ranks,
        )
        if found is not None:
            trainer.restore(found)
        return trainer

    def finish(self, trainer: SceneTrainer) -> FinishedSplats:
        """Blocks settle and become one scene; what it is worth."""
        assert isinstance(trainer, BlockTrainer), "it comes from above"
        assert self._cut_as is not None, "it was prepared"
        return Assembly(self._run, self._config, self._made_city, trainer, self._room).finished(self._cut_as)

    # ---------------------------------------------------------------------------------------------------------------- the plan

    @property
    def _room(self) -> int | None:
        """Memory beside program and photographs, or None for no limit."""
        run = self._run
        return None if run.budget is None else run.budget - fixed_bytes(run.capture.train_frames, run.cache_bytes)

    @property
    def _made_city(self) -> City:
        assert self._city is not None, "it is prepared before it is trained"
        return self._city

    def _planned(self, points: PointCloud) -> BlockSizes:
        """How large everything is to be; the settings follow."""
        run, config = self._run, self._config
        frames = run.capture.train_frames
        sizes = block_sizes(
            run.max_gaussians or gaussians_of(frames, max(points_of(run.capture), len(points))),
            config.block.decoder,
            config.background.most,
            blocks=None if config.blocks is None else math.prod(config.blocks),
            room=self._room,
            workers=max(1, config.workers // run.ranks.size),
        )
        if sizes.blocks < run.ranks.size:
            expected = f"at most {sizes.blocks}, as there are so many blocks"
            raise ConventionError("processes", expected=expected, got=run.ranks.size, fix="fewer, or more --blocks")
        coarse = min(sizes.most_of_block, max(1_000, sizes.anchors // 2))
        self._config = replace(
            config,
            coarse=replace(with_anchor_cap(config.coarse, coarse), max_initial_anchors=coarse),
            block=replace(
                with_anchor_cap(config.block, sizes.most_of_block), max_initial_anchors=max(1, 3 * sizes.most_of_block // 4)
            ),
        )
        return sizes

    def _cut(self, model: CoarseModel, points: PointCloud) -> City:
        """The partition as the file holds it, or made."""
        run, config = self._run, self._config
        path = run.folder / CITY_FOLDER / PARTITION_FILE
        cameras = [frame.camera for frame in run.capture.train_frames]
        fingerprint = fingerprint_of(
            {
                "data": run.data_hash,
                "anchors": fingerprint_of(model.anchors.positions.tolist()),
                "blocks": config.blocks,
                "planned": self._made_sizes.blocks,
                "box": config.box,
                "assignment": asdict(config.assignment),
            }
        )
        names = [frame.name for frame in run.capture.train_frames]
        if run.ranks.is_first and read_cut(path, names, fingerprint) is None:
            partition, grid = self._partition(model)
            partition, belongs, said = with_cameras(partition, model, cameras, config.assignment, run.progress)
            write_cut(path, Cut(partition, belongs, grid, tuple(said)), names, fingerprint)
        deliver(run.ranks, path)
        cut = read_cut(path, names, fingerprint)
        assert cut is not None, "it was written"
        self._cut_as = cut
        partition, belongs = cut.partition, cut.belongs
        for text in cut.said:
            run.progress.message(text)
        shown = "×".join(map(str, cut.grid))
        run.progress.message(
            f"{partition.num_blocks} blocks ({shown}) with {', '.join(str(count) for count in belongs.sum(axis=0))} cameras, "
            f"at most {self._made_sizes.most_of_block:,} anchors in each; {min(config.workers, partition.num_blocks)} at a time"
        )
        return City(run.capture, model, partition, belongs, points)

    @property
    def _made_sizes(self) -> BlockSizes:
        assert self._sizes is not None, "it is planned first"
        return self._sizes

    def _partition(self, model: CoarseModel) -> tuple[Partition, tuple[int, int, int]]:
        config, run = self._config, self._run
        positions = model.anchors.positions.numpy()
        if config.box is not None:
            frame = frame_of_box(config.box) @ np.linalg.inv(run.capture.world_from_source)  # boxes are in the data set's world
            grid = config.blocks or grid_of(
                self._made_sizes.blocks, (config.box[3] - config.box[0], config.box[4] - config.box[1])
            )
            return even_partition(frame, grid), grid
        cameras = [each.camera for each in run.capture.train_frames]
        frame, sides = found_frame(cameras, positions, run.capture.up_in_world)
        grid = config.blocks or grid_of(self._made_sizes.blocks, sides)
        return balanced_partition(frame, grid, positions), grid


def published(config: MomentumConfig, capture: Capture) -> MomentumConfig:
    """The settings with what was published for this scene, where it is one of the paper's and nobody says otherwise.

    Args:
        config: as asked for.
        capture: opened with a data set's preset, and named as the scene.
    """
    scene = PUBLISHED_SCENES.get(scene_name(capture.root))
    if scene is None or capture.preset != scene.data_set:
        return config
    teacher = config.teacher
    if teacher is not None and scene.consistency_weight is not None:
        teacher = replace(teacher, weight=scene.consistency_weight)
    weighting = config.weighting
    if weighting is not None and scene.sigma is not None:
        weighting = replace(weighting, sigma=scene.sigma)
    assignment = config.assignment
    if scene.visibility_threshold is not None:
        assignment = replace(assignment, threshold=scene.visibility_threshold)
    return replace(
        config,
        teacher=teacher,
        weighting=weighting,
        assignment=assignment,
        blocks=config.blocks or scene.block_dim,
        box=config.box or scene.aabb,
    )


def start(request: SplatRequest) -> SplatStart:
    """As asked; blocks see to it that memory suffices.

    Raises:
        ConventionError: a cluster is to help with nothing.
    """
    options: BlockOptions = request.own
    is_needed = options.processes > 1
    require(request.ray is None or is_needed, "--ray", "--processes above 1", "one process", "add it, or leave --ray out")

    def begin(run: SplatRun) -> BlockStages:
        return BlockStages(run, options, request.changed)

    def helper(threads: int | None) -> tuple[str, ...]:
        return request.again(replace(options, processes=1, workers=options.all_workers), threads)

    return SplatStart(
        begin,
        request.max_gaussians,
        fits_capture=False,
        plans_memory=True,
        trains_in_processes=True,
        processes=options.processes,
        helper=helper,
    )

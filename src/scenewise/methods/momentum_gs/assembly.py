"""Trained blocks become one scene: they settle one by one, are written one after the other, and the whole is measured."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import final

import torch

from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.images import png_bytes
from scenewise.io.json_fields import read_json_object
from scenewise.io.json_values import fingerprint_of, json_ready
from scenewise.io.ply.gaussians import GaussiansOnDisk, open_gaussians_ply, write_gaussians_ply
from scenewise.io.product_kinds import BLOCK_PART, SETTLED, FileKind
from scenewise.io.products import made
from scenewise.methods.momentum_gs.blocks import is_in_block
from scenewise.methods.momentum_gs.compose import BLOCKS_FOLDER, City
from scenewise.methods.momentum_gs.config import MomentumConfig
from scenewise.methods.momentum_gs.cuts import Cut
from scenewise.methods.momentum_gs.delivery import deliver
from scenewise.methods.momentum_gs.figures import BlockFigures, CitySummary, every_nth, quality
from scenewise.methods.momentum_gs.from_above import from_above
from scenewise.methods.momentum_gs.merging import (
    CITY_FOLDER,
    BlockPart,
    JoinedGaussians,
    StoredParts,
    block_part,
    merged_view,
    write_city,
)
from scenewise.methods.momentum_gs.seams import SeamErrors, seam_errors, seam_jumps, seam_picture
from scenewise.methods.momentum_gs.settling import settled_block
from scenewise.methods.momentum_gs.trainer import BlockTrainer
from scenewise.parts.splats.anchors.field import AnchorField
from scenewise.parts.splats.reconstruction import FinishedSplats, SplatRun, timed
from scenewise.rendering.in_view import SeenBy, seen_by
from scenewise.scenes.anchors import Anchors

CITY_FILE, MAP_FILE = "city.json", "from_above.png"
_LOOKED_AT = 10  # every so many views of a block are measured
_JUMP_VIEWS = 4  # of each block that show two blocks' pictures
_WORST = 2  # seams pictured


@final
class Assembly:
    """Of one run.

    Args:
        run: what is known before anything is trained.
        config: the settings.
        city: the scene in blocks.
        trainer: finished.
        room: memory for the whole scene in bytes, or None for no limit; what has no room is read for every view.
    """

    def __init__(self, run: SplatRun, config: MomentumConfig, city: City, trainer: BlockTrainer, room: int | None = None) -> None:
        self._run, self._config, self._city, self._trainer = run, config, city, trainer
        self._room = room
        self._background = torch.tensor(city.capture.background or (0.0, 0.0, 0.0), device=run.device)

    def finished(self, cut: Cut) -> FinishedSplats:
        """The Gaussians of the scene, anchors and figures beside them."""
        run = self._run
        parts = StoredParts(self._room, run.device)
        figures: list[BlockFigures] = []
        gaussians: list[GaussiansOnDisk] = []
        with timed(run.journal, "settle"), run.progress.stage("settle blocks", cut.partition.num_blocks) as stage:
            for block in self._in_turn():
                settled, part, own = self._settled(block)
                if run.ranks.is_first:
                    parts.add(*self._file(BLOCK_PART, "part", block), part)
                figures.append(own)
                gaussians.append(settled)
                stage.advance(gaussians=sum(map(len, gaussians)))
        merged = JoinedGaussians(tuple(gaussians))
        if not run.ranks.is_first:
            return FinishedSplats(merged, self._trainer.seconds)
        write_city(run.folder, parts, parts.counts)
        with timed(run.journal, "measure the merged scene"):
            summary = self._summary(cut, parts, figures, seen_by(merged, run.device, room=self._room))
            centers = torch.stack([frame.camera.centers_in_world for frame in self._city.capture.frames_with_image])
            atomic_write_bytes(run.folder / CITY_FOLDER / MAP_FILE, png_bytes(from_above(cut, merged, centers)))
        seconds = sum(summary.seconds.values())
        atomic_write_json(run.folder / CITY_FOLDER / CITY_FILE, json_ready(asdict(summary)))
        return FinishedSplats(merged, seconds, summary, room=self._room)

    # -------------------------------------------------------------------------------------------------------------- settling

    def _in_turn(self) -> Iterator[int]:
        """Every block here, in order.  Other processes make theirs at the same time and bring them to the first one, and go."""
        ranks, trainer = self._run.ranks, self._trainer
        if not ranks.is_first:
            yield from trainer.own_blocks
        for block in range(self._city.partition.num_blocks):
            if ranks.is_first and trainer.owner(block) == 0:
                yield block
            if trainer.owner(block) != 0:
                path, _ = self._file(SETTLED, "settled", block)
                for file in (trainer.waiting_file(block), path, path.with_suffix(".json")):
                    deliver(ranks, file, trainer.owner(block), to_first_only=True)
                if ranks.is_first:
                    yield block

    def _file(self, kind: FileKind, stem: str, block: int) -> tuple[Path, str]:
        """Where a block's product is kept, and its fingerprint."""
        fingerprint = fingerprint_of(
            {
                "run": self._trainer.config,
                "data": self._trainer.data_hash,
                "block": block,
                "settling": asdict(self._config.settling),
                "step": self._trainer.steps_done,
            }
        )
        return kind.path(self._run.folder / BLOCKS_FOLDER, f"{stem}_{block:03d}", fingerprint), fingerprint

    def _settled(self, block: int) -> tuple[GaussiansOnDisk, BlockPart, BlockFigures]:
        """A block's own Gaussians, from before where they are there, its own anchors, and its figures."""
        run, config, partition = self._run, self._config, self._city.partition
        frames = every_nth(self._city.frames(block), _LOOKED_AT)
        trained = self._trainer.finished(block)
        assert isinstance(trained.field, AnchorField), "anchors were trained"
        decoded = quality(trained.field.gaussians, frames, self._background)
        part = block_part(trained, partition, block)
        views, scene_extent, heads = trained.views, trained.scene_extent, trained.field.decoder.heads()
        anchors = Anchors(**{name: value.detach().clone() for name, value in vars(trained.field.anchors()).items()})
        del trained  # gradients and moments make room for those of the Gaussians
        path, fingerprint = self._file(SETTLED, "settled", block)
        measured: dict[str, float] = {}

        def make(place: Path) -> None:
            settled = settled_block(
                anchors,
                heads,
                is_in_block(partition, block, anchors.positions),
                views,
                scene_extent,
                config.settling,
                background=self._city.capture.background,
                seed=run.seed,
            )
            measured.update({"seconds": settled.seconds})
            for name, all_of_it in (("baked_psnr", settled.baked_all), ("settled_psnr", settled.settled_all)):
                found = quality(seen_by(all_of_it, run.device), frames, self._background)
                measured[name] = 0.0 if found is None else found[0]
            write_gaussians_ply(place, settled.own)
            atomic_write_json(path.with_suffix(".json"), measured)

        gaussians = made(path, SETTLED, fingerprint, make, open_gaussians_ply).value
        if not measured:
            measured = _read_measured(path.with_suffix(".json"))
        figures = BlockFigures(
            block,
            cameras=len(views),
            anchors=len(part.anchors),
            behind=len(anchors) - len(part.anchors),
            gaussians=len(gaussians),
            psnr=0.0 if decoded is None else decoded[0],
            baked_psnr=measured["baked_psnr"],
            settled_psnr=measured["settled_psnr"],
            seconds=measured["seconds"],
        )
        return gaussians, part, figures

    # ------------------------------------------------------------------------------------------------------------- measuring

    def _summary(self, cut: Cut, parts: StoredParts, figures: list[BlockFigures], splats: SeenBy) -> CitySummary:
        capture, run = self._city.capture, self._run
        decoded = merged_view(parts)
        with run.progress.stage("measure the merged scene"):
            whole = [quality(decoded, every_nth(self._city.frames(each.block), _LOOKED_AT), self._background) for each in figures]
            held_out = quality(decoded, capture.test_frames, self._background)
            shown = quality(splats, capture.test_frames, self._background)
            views = capture.test_frames or tuple(every_nth(capture.train_frames, _LOOKED_AT))
            seams = seam_errors(splats, views, cut.partition, self._background)
            decoded_seams = seam_errors(decoded, views, cut.partition, self._background)
            looking = self._city.shared_views(_JUMP_VIEWS)
            jumps = seam_jumps(decoded, self._alone, looking, cut.partition, self._background)
            worst = self._pictures(seams, splats, cut)
        return CitySummary(
            blocks=tuple(replace(each, merged_psnr=None if found is None else found[0]) for each, found in zip(figures, whole)),
            grid=cut.grid,
            said=cut.said,
            coarse_anchors=len(self._city.model.anchors),
            decoded_psnr=None if held_out is None else held_out[0],
            decoded_ssim=None if held_out is None else held_out[1],
            splats_psnr=None if shown is None else shown[0],
            seam_ratio=seams.ratio,
            decoded_seam_ratio=decoded_seams.ratio,
            seam_jumps={f"{a}-{b}": value for (a, b), value in jumps.items()},
            worst_seams=worst,
            seconds={
                "coarse model": self._city.model.seconds,
                "blocks": self._trainer.seconds,
                "settling": sum(each.seconds for each in figures),
            },
            bytes_reduced=self._trainer.bytes_reduced,
        )

    def _alone(self, block: int) -> SeenBy:
        return self._trainer.finished(block).field.gaussians

    def _pictures(self, seams: SeamErrors, splats: SeenBy, cut: Cut) -> dict[str, str]:
        """Pictures of the worst seams: the view with its cuts, and its errors."""
        ranked = sorted(seams.by_view.items(), key=lambda item: item[1][0] * item[1][2], reverse=True)[:_WORST]
        by_name = {frame.name: frame for frame in self._city.capture.frames_with_image}
        written: dict[str, str] = {}
        for index, (name, _) in enumerate(ranked):
            shown, error = seam_picture(splats, by_name[name], cut.partition, self._background)
            for kind, picture in (("view", shown), ("error", error)):
                place = f"{CITY_FOLDER}/seam_{index}_{kind}.png"
                atomic_write_bytes(self._run.folder / place, png_bytes(picture))
                written[f"{name} {kind}"] = place
        return written


def _read_measured(path: Path) -> dict[str, float]:
    fields = read_json_object(path)
    return {name: float(fields.number(name)) for name in ("seconds", "baked_psnr", "settled_psnr")}

"""``scenewise reconstruct --method momentum_gs``: the whole way in small, what it leaves behind, kills, budgets, errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.between_workers import made_once

from scenewise.commands.check.prediction import predict
from scenewise.commands.evaluate.run import evaluate_scene
from scenewise.commands.export.options import ExportOptions
from scenewise.commands.export.run import export_scene
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.render.run import render_scene
from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.errors import ConventionError, ResourceError
from scenewise.io.captures import open_capture
from scenewise.io.ply.anchors import read_anchors_ply
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.scene_folder import read_scene
from scenewise.io.spz import read_spz
from scenewise.io.tensor_files import read_tensors
from scenewise.methods.momentum_gs.config import FAST_MOMENTUM
from scenewise.methods.momentum_gs.cuts import read_cut
from scenewise.methods.momentum_gs.options import BlockOptions
from scenewise.methods.momentum_gs.planning import fixed_bytes
from scenewise.parts.splats.memory import decoded_bytes
from scenewise.studies.towns import write_town_capture

BLOCKS = BlockOptions(blocks="2,1,1", coarse_steps=20, slot_steps=5, settle_steps=5)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(place: Path) -> None:
        write_town_capture(place, 2, 18, 48, 32, points=600, size=(60.0, 60.0))

    return made_once(tmp_path_factory, "block_town", make)[0]


def options(town: Path, out: Path, *, city: BlockOptions = BLOCKS, **changes: object) -> ReconstructOptions:
    asked = ReconstructOptions(
        capture=town, out=out, method="momentum_gs", steps=20, max_gaussians=1_500, threads=1, checkpoint_every=5, city=city
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be left as it is."""

    def make(place: Path) -> None:
        reconstruct(options(town, place))

    return made_once(tmp_path_factory, "block_scene", make)[0]


def city_of(scene: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((scene / "city" / "city.json").read_text())
    return found


def test_a_scene_in_blocks_is_a_scene(scene: Path) -> None:
    written = read_scene(scene)
    assert written.provenance.method == "momentum_gs" and written.sh_degree == 3
    city = city_of(scene)
    assert written.num_gaussians == len(written.gaussians) == sum(each["gaussians"] for each in city["blocks"]) > 100
    assert written.evaluation is not None and abs(written.evaluation.psnr - city["splats_psnr"]) < 1e-6
    report = (scene / "report.html").read_text()
    assert "Blocks" in report and "Worst seams" in report and "From above" in report


def test_what_it_says_of_blocks_and_seams(scene: Path) -> None:
    city = city_of(scene)
    assert [each["block"] for each in city["blocks"]] == [0, 1] and city["grid"] == [2, 1, 1]
    assert all(each["cameras"] > 0 and each["anchors"] > 0 and each["behind"] > 0 for each in city["blocks"])
    assert all(min(each["settled_psnr"], each["baked_psnr"], each["merged_psnr"]) > 10.0 for each in city["blocks"])
    assert city["seam_ratio"] > 0 and city["decoded_seam_ratio"] > 0 and list(city["seam_jumps"]) == ["0-1"]
    assert {Path(place).suffix for place in city["worst_seams"].values()} == {".png"}
    assert all((scene / place).stat().st_size > 100 for place in city["worst_seams"].values())


def test_every_anchor_is_its_blocks_and_the_decoder_is_one(scene: Path) -> None:
    anchors = read_anchors_ply(scene / "city" / "anchors.ply")
    cut = read_cut(scene / "city" / "partition.json", [])
    tensors, about = read_tensors(scene / "city" / "decoder.safetensors", "anchor_decoder")
    assert cut is not None and about["is_shared"] and set(tensors) == {"opacity", "color", "covariance"}
    owners = cut.partition.block_of(anchors.positions.numpy())
    assert np.array_equal(owners, np.repeat([0, 1], about["blocks"]))
    record = read_scene(scene).provenance.config["partition"]
    assert record["cells"] == cut.partition.cells.tolist()  # merging and training cut alike


def test_other_commands_take_it_as_any_other(scene: Path, town: Path, tmp_path: Path) -> None:
    assert evaluate_scene(scene).card.num_views == 3
    for form, read in (("ply", read_gaussians_ply), ("spz", read_spz)):
        out = tmp_path / f"city.{form}"
        assert export_scene(ExportOptions(scene, format=form, out=out)).count == len(read(out))  # type: ignore[arg-type,operator]
    assert len(render_scene(RenderOptions(scene, out=tmp_path / "views", threads=1)).files) > 0


class _Kill(BaseException):
    pass


def _killed_at(save: int) -> Callable[..., Path]:
    """The ``save``-th checkpoint is written, then the process goes."""
    written = Checkpointer.save
    count = 0

    def save_and_die(self: Checkpointer, checkpoint: Checkpoint) -> Path:
        nonlocal count
        path = written(self, checkpoint)
        count += 1
        if count == save:
            raise _Kill
        return path

    return save_and_die


@pytest.mark.parametrize("save", [2, 6, 9])
def test_a_killed_run_goes_on_to_the_same_bits(
    save: int, town: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the coarse model, in the first round, and in the last one."""
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", _killed_at(save))
        with pytest.raises(_Kill):
            reconstruct(options(town, tmp_path / "scene"))
    reconstruct(options(town, tmp_path / "scene", resume=True))
    assert (tmp_path / "scene" / "splats.ply").read_bytes() == (scene / "splats.ply").read_bytes()


def test_a_budget_makes_more_blocks(town: Path, tmp_path: Path) -> None:
    plain = replace(BLOCKS, blocks=None)
    frames = open_capture(town).train_frames
    fixed = fixed_bytes(frames, decoded_bytes(frames, (2,)))
    asked = options(town, tmp_path / "scene", city=plain, max_gaussians=12_000, budget=f"{fixed + 26_000_000}", steps=5)
    summary = reconstruct(asked)
    assert summary.city is not None and len(summary.city.blocks) > 1
    with pytest.raises(ResourceError, match=r"memory for a block: expected .* MB beside program.*Fix: raise --budget"):
        reconstruct(options(town, tmp_path / "none", city=plain, budget=f"{fixed + 1_000_000}"))


def test_blocks_that_would_starve_are_given_to_a_neighbour_and_that_is_said(town: Path, tmp_path: Path) -> None:
    summary = reconstruct(options(town, tmp_path / "scene", city=replace(BLOCKS, blocks="9,1,1"), steps=5))
    assert summary.city is not None and 1 <= len(summary.city.blocks) < 9
    assert any("was given to a neighbour" in said for said in summary.city.said) and summary.city.said[0] in summary.text()


def test_decoders_of_their_own_are_kept_apart(town: Path, tmp_path: Path) -> None:
    reconstruct(options(town, tmp_path / "scene", city=replace(BLOCKS, own_decoders=True, settle_steps=0), steps=10))
    tensors, about = read_tensors(tmp_path / "scene" / "city" / "decoder.safetensors", "anchor_decoder")
    assert not about["is_shared"] and not torch.equal(tensors["0.color"], tensors["1.color"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"minutes": 1.0, "steps": None}, "--minutes 1.0: expected --method gaussian_splatting"),
        ({"pose_refinement": True}, "--pose-refinement"),
        ({"strategy": "mcmc"}, "--strategy mcmc"),
        ({"city": BLOCKS, "method": "gaussian_splatting"}, "--blocks: expected --method momentum_gs"),
    ],
)
def test_what_does_not_belong_to_it_is_refused(town: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConventionError, match=said):
        options(town, tmp_path / "scene", **changes)


@pytest.mark.parametrize("blocks", ["2,2", "0,1,1", "2x2x1", "a,b,c", "2,-1,1"])
def test_a_grid_that_is_none_is_refused(blocks: str) -> None:
    with pytest.raises(ConventionError, match=r"--blocks: expected three numbers above 0 such as 2,2,1"):
        BlockOptions(blocks=blocks)


def test_check_predicts_blocks(town: Path) -> None:
    capture = open_capture(town)
    free = predict(capture, threads=2)
    assert free.blocks is not None and free.blocks.blocks == 1
    tight = predict(capture, threads=2, budget=free.blocks.memory_bytes - free.blocks.anchors * 3_000)
    assert tight.blocks is not None and tight.blocks.blocks > 1 and tight.blocks.anchors < free.blocks.anchors
    assert tight.blocks.memory_bytes < free.blocks.memory_bytes
    assert predict(capture, threads=2, budget=100_000_000).blocks is None  # not even one


def test_a_decoder_that_the_coarse_model_has_not_is_refused() -> None:
    small = replace(FAST_MOMENTUM.block, decoder=replace(FAST_MOMENTUM.block.decoder, slots=5))
    with pytest.raises(ConventionError, match=r"decoder of the blocks: expected slots.*\(10, 32, 32\).*got \(5, 32, 32\)"):
        replace(FAST_MOMENTUM, block=small)
    assert replace(FAST_MOMENTUM, block=small, coarse=replace(FAST_MOMENTUM.coarse, decoder=small.decoder)).block is small

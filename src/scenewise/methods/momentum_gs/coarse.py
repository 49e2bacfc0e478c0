"""The coarse model of the whole scene: what blocks are cut from, and where cameras are assigned by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import Journal
from scenewise.errors import DataFormatError
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import COARSE
from scenewise.io.products import made
from scenewise.io.resizing import downscaled_capture
from scenewise.io.scene_folder import JOURNAL_FILE
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.building import build_anchor_trainer
from scenewise.parts.splats.anchors.decoder import HEADS, copied, heads_of
from scenewise.parts.splats.anchors.field import AnchorField, decoded_anchors
from scenewise.parts.splats.anchors.recipes import AnchorRecipe
from scenewise.parts.splats.reconstruction import SplatRun, timed
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.training import train_splats
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.point_clouds import PointCloud

COARSE_FOLDER = "coarse"
COARSE_MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class CoarseModel:
    """Anchors of the whole scene with their decoder.

    Attributes:
        anchors: few enough for one process.
        heads: their decoder.
        cell: edge of the finest cells that anchors lie in, world units.
        scene_extent: size of the scene, world units.
        importance: what each anchor's children contribute to all training views together, Σ α·T over their pixels.
        seconds: that its training took.
    """

    anchors: Anchors
    heads: DecoderHeads
    cell: float
    scene_extent: float
    importance: Float[Tensor, "n"]
    seconds: float


def coarse_model(run: SplatRun, points: PointCloud, recipe: AnchorRecipe, downscale: int) -> CoarseModel:
    """The coarse model of a run: read, or trained with checkpoints in the scene folder.

    Args:
        run: what is known before anything is trained.
        points: where the first anchors go.
        recipe: its settings.
        downscale: its views are at 1/N of the run's.
    """
    record = {"recipe": asdict(recipe), "downscale": downscale, "seed": run.seed, "size": run.downscale}
    fingerprint = fingerprint_of({"data": run.data_hash, "points": _digest(points), **record})

    def make(place: Path) -> Mapping[str, Any]:
        checkpointer = Checkpointer(place / "checkpoints")
        trainer = build_anchor_trainer(
            downscaled_capture(run.capture, downscale),
            points,
            recipe,
            seed=run.seed,
            record=record,
            device=run.device,
            data_hash=run.data_hash,
            cache_bytes=run.cache_bytes,
            resume_from=checkpointer.latest(),
        )
        with Journal(place / JOURNAL_FILE) as journal, timed(run.journal, "coarse model"):
            train_splats(
                trainer,
                checkpointer=checkpointer,
                journal=journal,
                progress=run.progress,
                checkpoint_every=run.checkpoint_every,
                stage="coarse model",
            )
        write_coarse(place / COARSE_MODEL_FILE, coarse_of(trainer))
        return {"anchors": len(trainer.field.store), "seconds": trainer.seconds}

    return made(run.folder / COARSE_FOLDER, COARSE, fingerprint, make, lambda path: read_coarse(path / COARSE_MODEL_FILE)).value


def coarse_of(trainer: SplatTrainer) -> CoarseModel:
    """What a finished trainer of anchors has learned; on the CPU."""
    field = trainer.field
    assert isinstance(field, AnchorField), "anchors were trained"
    anchors, heads = field.anchors(), field.decoder.heads()
    importance = anchor_importance(anchors, heads, trainer.views.cameras).cpu()
    cell = float(trainer.checkpoint().details["cell"])
    fixed = Anchors(**{name: value.detach().cpu().clone() for name, value in vars(anchors).items()})
    return CoarseModel(fixed, copied(heads, "cpu"), cell, trainer.scene_extent, importance, trainer.seconds)


def write_coarse(path: Path, model: CoarseModel) -> None:
    """A coarse model to a file."""
    tensors = {f"anchors.{name}": value for name, value in vars(model.anchors).items()}
    tensors |= {f"heads.{name}": getattr(model.heads, name) for name in HEADS}
    tensors["importance"] = model.importance
    about = {name: getattr(model, name) for name in ("cell", "scene_extent", "seconds")}
    write_tensors(path, tensors, "coarse", about)


def read_coarse(path: Path) -> CoarseModel:
    """The inverse of :func:`write_coarse`.

    Raises:
        DataFormatError: no such file, or another.
    """
    tensors, about = read_tensors(path, "coarse")
    try:
        return CoarseModel(
            Anchors(**{name.removeprefix("anchors."): value for name, value in tensors.items() if name.startswith("anchors.")}),
            heads_of({name: tensors[f"heads.{name}"] for name in HEADS}),
            cell=float(about["cell"]),
            scene_extent=float(about["scene_extent"]),
            importance=tensors["importance"],
            seconds=float(about["seconds"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataFormatError(path, expected="a coarse model", got=f"no {error}", fix="delete its folder") from error


def _digest(points: PointCloud) -> str:
    return hashlib.sha256(points.points_in_world.tobytes()).hexdigest()


@torch.no_grad()
def anchor_importance(anchors: Anchors, heads: DecoderHeads, cameras: Sequence[Cameras]) -> Float[Tensor, " n"]:
    """What each anchor's children contribute to the views of some cameras: Σ α·T over pixels and children."""
    total = anchors.positions.new_zeros(len(anchors))
    for camera in cameras:
        decoded = decoded_anchors(anchors, heads, camera)
        found = render(decoded.gaussians, camera, contribution=True).contribution
        assert found is not None and decoded.row_of is not None, "contributions were asked for"
        total.index_add_(0, decoded.row_of, found.weight_sum)
    return total

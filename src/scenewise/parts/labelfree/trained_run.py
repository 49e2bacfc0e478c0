"""A trained network, as a run folder keeps it."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import torch
from jaxtyping import Float32
from torch import Tensor

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.progress import Progress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.run_folder import RUN_CHECKPOINTS, RUN_VOCABULARY_FILE, RunConfig, read_run_config
from scenewise.io.vocabularies import read_vocabulary
from scenewise.parts.labelfree.backbone_choice import point_backbone
from scenewise.parts.labelfree.prediction import PredictionGrids, predict_points
from scenewise.parts.labelfree.settings import BackboneName
from scenewise.parts.labelfree.students import PointStudent
from scenewise.parts.scans.bare_scans import bare_scan, point_inputs
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.vocabularies import Vocabulary

_STUDENT = "points.student."


@dataclass(frozen=True)
class TrainedRun:
    """A trained network and what it knows the names of.

    Attributes:
        folder: of the run.
        config: how it was trained.
        vocabulary: the classes.
        student: the 3D network, ready to name points.
        text: unit embedding per class.
        step: steps it was trained for.
        data_hash: checksum of what it was trained on.
    """

    folder: Path
    config: RunConfig
    vocabulary: Vocabulary
    student: PointStudent
    text: Float32[Tensor, "classes dim"]
    step: int
    data_hash: str

    def name(
        self, raw: RawScan, *, repeats: int = 1, seed: int = 0, max_voxels: int, progress: Progress | None = None
    ) -> LabelField:
        """Class and confidence of each point of a scan, in its order.

        Raises:
            ConventionError: the scan has other inputs than the network was trained on.
        """
        wanted, found = self.config.network.inputs, point_inputs(raw)[1]
        if found != wanted:
            raise ConventionError(
                f"points of {raw.name}",
                expected=f"{wanted}, which {self.folder.name} was trained on",
                got=found,
                fix="use a network that was trained on such points",
            )
        scan = bare_scan(raw)
        return predict_points(
            self.student,
            self.text,
            scan.points_in_scan,
            scan.inputs,
            PredictionGrids(self.config.network.voxel, repeats, seed, max_voxels),
            progress=progress,
        )


def load_run(folder: Path, device: torch.device | None = None) -> TrainedRun:
    """The network in a run folder, from its newest checkpoint.

    Raises:
        DataFormatError: not a run, no checkpoint yet, or files that do not fit each other.
    """
    config = read_run_config(folder)
    vocabulary, _ = read_vocabulary(folder / RUN_VOCABULARY_FILE)
    found = Checkpointer(folder / RUN_CHECKPOINTS).latest()
    if found is None:
        raise DataFormatError(folder, expected="a checkpoint", got="none", fix="train it further with scenewise train --resume")
    network = config.network
    if network.backbone not in get_args(BackboneName):
        raise DataFormatError(folder, "network.backbone", expected=" or ".join(get_args(BackboneName)), got=network.backbone)
    student = PointStudent(point_backbone(cast(BackboneName, network.backbone), network.width)(network.in_channels), network.dim)
    own = {name.removeprefix(_STUDENT): value for name, value in found.parameters.items() if name.startswith(_STUDENT)}
    text = found.state.get("text")
    if text is None or tuple(text.shape) != (len(vocabulary), network.dim):
        got = "nothing" if text is None else tuple(text.shape)
        raise DataFormatError(folder, "text of the checkpoint", expected=f"{len(vocabulary)} × {network.dim} numbers", got=got)
    try:
        student.load_state_dict(own)
    except RuntimeError as error:
        message = " ".join(str(error).split())[:200]
        raise DataFormatError(folder, "checkpoint", expected=f"a {network.backbone} as in config.json", got=message) from error
    device = torch.device("cpu") if device is None else device
    return TrainedRun(folder, config, vocabulary, student.to(device).eval(), text.to(device), found.step, found.data_hash)

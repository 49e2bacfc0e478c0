"""Settings of HICL, each with its source.

"Paper" is Kang et al. 2024, *Hierarchical Intra-modal Correlation Learning for Label-free 3D Semantic Segmentation*, CVPR 2024.
No code was found.  What the paper leaves open is decided here, the other reading being an option; "taken over" is CLIP2Scene's,
and so are the values of :class:`StudentTraining` that are not named here.
"""

from dataclasses import dataclass, field
from typing import Literal

from scenewise.parts.labelfree.settings import Correlations, StudentTraining, presets_of
from scenewise.parts.segments.vote_settings import VoteSettings


@dataclass(frozen=True)
class HiclConfig(Correlations, StudentTraining):
    """Everything that decides a run, the data and the seed apart.

    Attributes:
        backbone: paper: MinkUNet14 on ScanNet, of which 14A is taken over; SPVCNN on nuScenes.
        voxel: edge in metres; taken over: 5 cm on ScanNet, 10 cm on nuScenes.
        epochs: paper: 120 on ScanNet, 30 on nuScenes.
        batch_scans: scans per step over all devices; paper: 8, and 4 in its ablations.
        views_per_step: pictures of each scan in a step, for what needs pictures; None = all.
        learning_rate: down to 0 by half a cosine; paper.
        transformer_learning_rate: of the transformers' AdamW, down to 0 by half a cosine; paper.
        transformer_weight_decay: not told; AdamW's usual value.
        labels: "set_vote": the intra-set vote (paper, section on intra-set learning); "view_vote": each point the mode over its
            views; "pairs": CLIP2Scene's rows, unvoted.
        vote: how a set votes.  The formula speaks of the pixels of one image ("view"), the text of disagreeing views ("scene",
            taken here); points nobody labelled take their set's label.
        region_refined: labels are voted inside 2D regions of each picture first, as CNS does; not in the paper.
        min_region: pixels that a region needs to vote.
        levels: which points attend to each other: those of a scene (eq. 4), then those of all scenes of the batch (eq. 7).
        tokens: points sampled per scene, M, in proportion to the sizes of the sets; paper: 1024.
        layers: of each transformer; paper: three.
        heads: of the attention; not told.
        layer_form: "vit": pre-norm attention and a four times wider MLP ("vision transformers"); "paper": the layer of eq. 3.
        positions: "none", or "xyz_fourier": codes of the points' places take part in queries and keys; not told.
        deep_supervision: the inner level is told the labels as well, with an equal share.
        detach: stops the gradient of the transformers' cross entropy before the 3D network; the theory needs it (False).
        feedback: the transformers' answers are told back to the 3D network (eq. 8).
        feedback_space: "class": posteriors over class names; "channel": softmax over feature channels, eq. 8 taken literally.
        feedback_direction: "distil": KL(transformer ‖ network) with a fixed transformer; "literal": KL(network ‖ transformer).
        correlation_from: first epoch of the transformers; paper: 11.
        feedback_from: first epoch of the feedback; paper: 21.
        combine: "mean" of the active losses (paper), or "sum".
        self_training: chance of a step whose labels are the network's own; CLIP2Scene's switch, not mentioned in the paper: 0.
        self_training_from: its first epoch.
    """

    epochs: int = 120
    views_per_step: int | None = None
    learning_rate: float = 0.2
    labels: Literal["set_vote", "view_vote", "pairs"] = "set_vote"
    vote: VoteSettings = field(default_factory=VoteSettings)
    region_refined: bool = False
    min_region: int = 100
    layer_form: Literal["vit", "paper"] = "vit"
    positions: Literal["none", "xyz_fourier"] = "none"
    deep_supervision: bool = False
    detach: bool = False
    feedback_space: Literal["class", "channel"] = "class"
    feedback_direction: Literal["distil", "literal"] = "distil"
    self_training: float = 0.0
    self_training_from: int = 10


PRESETS = presets_of(
    HiclConfig,
    # The phases of a run of 30 epochs are not told; they keep their share of the whole here.
    nuscenes={"backbone": "spvcnn", "epochs": 30},
    # Few tokens as well.
    rooms={"min_region": 20, "tokens": 256, "heads": 4},
)
"""By data set."""

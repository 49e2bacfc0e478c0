"""Settings of VL-SAT, each with its source.

"Paper" is Wang et al. 2023, arXiv 2303.14408; "code" its released code, which is what was run where the two differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from scenewise.errors import ConventionError

StudentName = Literal["vl_sat", "sgfn", "sggpoint", "sgpn"]


@dataclass(frozen=True)
class OracleSettings:
    """The branch that is trained beside the student and thrown away; each ingredient can be left out.

    Attributes:
        images: its things begin as picture features; else as points, in an encoder of its own.
        text: triplets are held to sentences.
        mimic: the student's first features are drawn to the picture features.
        projects: those that enter the graph, through a linear layer that is thrown away with the oracle; else the first pooled
            channels of the backbone as they are, as in the code.
        reads_nodes: its things query the student's.
        reads_edges: its pairs query the student's.
        mask_edges: pairs see only pairs of their own scan; the released code lets all pairs of a batch see each other.
        views: which pictures of a thing are averaged: "visible": those that show most of it; "released": those that the teacher
            finds most like the true class, as the code chooses.
        most_views: so many of them; code: 5.
        margin: cosine from which the student mimics well enough; code: 0.8.
        adapter_epochs: passes that train the adapter before everything else; code: 20.
        weight: of mimicking and of sentences; code: 0.1.
    """

    images: bool = True
    text: bool = True
    mimic: bool = True
    projects: bool = True
    reads_nodes: bool = True
    reads_edges: bool = True
    mask_edges: bool = True
    views: Literal["visible", "released"] = "visible"
    most_views: int = 5
    margin: float = 0.8
    adapter_epochs: int = 20
    weight: float = 0.1


@dataclass(frozen=True)
class VlSatConfig:
    """Everything that decides a run, the data and the seed apart.

    Attributes:
        student: the network that is deployed; "vl_sat" is the paper's own, the others are those it was plugged into.
        width: channels of things and pairs; code: 512.
        heads: of attention; code: 8.
        depth: layers; code: 2.
        points: of each thing in a step; code: 128.
        dropout: between layers and within SGFN's gates; code: 0.5.
        text_heads: the class directions start from the teacher's words, with an oracle and without; code: only with.
        oracle: the scheme; None trains the student alone.
        distillation: instead of the scheme, the student is also held to what an oracle that reads nothing of it says.
        steps: of training.
        batch_scans: scans in a step; code: 8.
        nodes_per_scan: things of each scan in a step, the nearest to one drawn at random; None = all.  3DSSG cuts its scans into
            pieces of nine.
        learning_rate: of AdamW, down to 0 by half a cosine; code: 1e-4.
        graph_rate: factor on it for attention and graph layers; code: ¼.
        head_rate: factor on it for the class directions; code: 0.1.
        weight_decay: code: 0.
        clip_norm: largest norm of all gradients together.
        object_weight: of the classes' cross entropy; code: 0.1.
        predicate_weight: of the predicates' weighted cross entropy; code: 3.
        turns: scans are turned by quarters and mirrored, and the predicates that name directions with them.
        jitter: standard deviation of noise on points, metres.
    """

    student: StudentName = "vl_sat"
    width: int = 512
    heads: int = 8
    depth: int = 2
    points: int = 128
    dropout: float = 0.5
    text_heads: bool = True
    oracle: OracleSettings | None = field(default_factory=OracleSettings)
    distillation: bool = False
    steps: int = 48_000
    batch_scans: int = 8
    nodes_per_scan: int | None = None
    learning_rate: float = 1e-4
    graph_rate: float = 0.25
    head_rate: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float | None = None
    object_weight: float = 0.1
    predicate_weight: float = 3.0
    turns: bool = False
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_scans", "points", "width", "heads", "depth"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if self.nodes_per_scan is not None and self.nodes_per_scan < 2:
            raise ConventionError("nodes_per_scan", expected="at least 2", got=self.nodes_per_scan)
        if not self.learning_rate > 0:
            raise ConventionError("learning_rate", expected="above 0", got=self.learning_rate)
        if self.distillation and self.oracle is None:
            raise ConventionError("distillation", expected="an oracle to learn from", got="none")


PRESETS: Mapping[str, VlSatConfig] = MappingProxyType(
    {
        "3rscan": VlSatConfig(),
        "rooms": replace(
            VlSatConfig(),
            width=128,
            points=48,
            steps=500,
            nodes_per_scan=10,
            learning_rate=2e-3,
            graph_rate=1.0,
            head_rate=1.0,
            weight_decay=1e-4,
            clip_norm=1.0,
            turns=True,
            jitter=0.005,
            oracle=OracleSettings(margin=1.0, adapter_epochs=0, weight=0.5),
        ),
    }
)
"""By data set; "rooms" fits a minute on one core.  Its weights of the oracle were chosen on validation rooms: with the code's,
drawn to class words and mimicked to a cosine of 0.8, pictures say little that labels do not."""

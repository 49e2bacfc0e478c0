"""A trained student as one file, and as what a scene graph is built with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.geometry.boxes import upright_box
from scenewise.io.json_fields import JsonFields
from scenewise.io.tensor_files import half_precision, read_tensors, write_tensors
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.networks.graphs.students import GraphShape, GraphStudent, StudentKind
from scenewise.parts.graphs.building import NetworkAnswer
from scenewise.scenes.predicates import DIRECTIONS
from scenewise.teachers.network_files import network_of_tensors

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "scene_graph.safetensors"
NAME = "embedded scene-graph network"
_FORMAT = "scenewise graph network 1"
_ENTRY = "graph_network"
_FIX = "the file is damaged, or of another version"
_STRAY = 0.005  # of the points at each side, which do not count for the box of a scene
_MOST = {"classes": 4096, "predicates": 4096, "width": 4096, "heads": 64, "depth": 16, "points": 8192}


@dataclass(frozen=True)
class Learned:
    """What a network was trained to tell.

    Attributes:
        classes: names of things.
        predicates: names of relations.
        about: data, recipe and figures, JSON values.
    """

    classes: tuple[str, ...]
    predicates: tuple[str, ...]
    about: dict[str, Any]


@final
class GraphNetwork:
    """A trained student that reads relations for :func:`scenewise.parts.graphs.building.build_graph`.

    Args:
        student: the network.
        learned: what its outputs mean.
        name: for people.
    """

    def __init__(self, student: GraphStudent, learned: Learned, name: str) -> None:
        self.student, self.learned = student.eval().requires_grad_(False), learned
        self._name = name

    @property
    def name(self) -> str:
        """For people, and for the record in the graph."""
        return self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of its classes."""
        return self.learned.classes

    @property
    def predicates(self) -> tuple[str, ...]:
        """Relations it knows."""
        return self.learned.predicates

    @torch.no_grad()
    def answer(
        self,
        points_in_upright: Sequence[Float32[np.ndarray, "_ 3"]],
        names: Sequence[str],
        confidences: Sequence[float],
        pairs: Int64[np.ndarray, "pairs 2"],
    ) -> NetworkAnswer:
        """Classes and relations from points alone; names and confidences are not looked at.

        The scene is turned so that its walls run along the axes, as those of the rooms that were trained on do, so directions
        are told as 0: whose left it is only the caller knows, and geometry tells it better.

        Args:
            points_in_upright: of each thing, metres, +Z up.
            names: what labels call each.
            confidences: how sure they are.
            pairs: rows (subject, object).
        """
        count = self.student.shape.points
        spread = np.stack(
            [points[np.linspace(0, len(points) - 1, count).round().astype(np.int64)] for points in points_in_upright]
        )
        inputs = GraphInputs(
            torch.from_numpy(_along_walls(spread)),
            torch.from_numpy(np.ascontiguousarray(pairs.T)),
            torch.zeros(len(spread), dtype=torch.int64),
        )
        logits = self.student(inputs)
        said = torch.sigmoid(logits.predicates).numpy()
        said[:, [name in DIRECTIONS for name in self.learned.predicates]] = 0.0
        return NetworkAnswer(torch.softmax(logits.classes, -1).numpy(), said)


def _along_walls(points: Float32[np.ndarray, "things k 3"]) -> Float32[np.ndarray, "things k 3"]:
    """Points turned about the up axis so that the smallest upright box around them all lies along the axes, its middle at 0."""
    box = upright_box(points.reshape(-1, 3).astype(np.float64), np.array([0.0, 0.0, 1.0]), _STRAY)
    floor = box.center_in_world - np.array([0.0, 0.0, box.size[2] / 2])
    return np.ascontiguousarray(((points - floor) @ box.world_from_box).astype(np.float32))


def write_graph_network(path: Path, student: GraphStudent, learned: Learned) -> None:
    """Weights in half precision with everything needed to read them."""
    described = {"format": _FORMAT, "shape": asdict(student.shape), **asdict(learned)}
    write_tensors(path, half_precision(student.state_dict()), _ENTRY, described)


def read_graph_network(path: Path, name: str | None = None) -> GraphNetwork:
    """A network from its file; nothing in it is run.

    Raises:
        DataFormatError: missing, damaged, or another format.
    """
    tensors, described = read_tensors(path, _ENTRY, fix=_FIX)
    top = JsonFields(path, f"metadata {_ENTRY}", described)
    if top.text("format", None) != _FORMAT:
        raise top.wrong("format", _FORMAT, "another")
    shape, learned = (
        _shape(path, top.object("shape")),
        Learned(top.texts("classes"), top.texts("predicates"), top.mapping("about")),
    )
    top.finish()
    if len(learned.classes) != shape.classes or len(learned.predicates) != shape.predicates:
        got = f"{len(learned.classes)} and {len(learned.predicates)}"
        raise DataFormatError(
            path, "names", expected=f"{shape.classes} classes and {shape.predicates} predicates", got=got, fix=_FIX
        )
    student = network_of_tensors(path, tensors, lambda: GraphStudent(shape), _FIX)
    return GraphNetwork(student, learned, path.stem if name is None else name)


def embedded_network() -> GraphNetwork:
    """The network that comes with the package: trained on procedural rooms."""
    return read_graph_network(WEIGHTS, NAME)


def _shape(path: Path, sizes: JsonFields) -> GraphShape:
    try:
        values: dict[str, Any] = {
            each.name: sizes.integer(each.name, minimum=1, maximum=_MOST[each.name])
            for each in fields(GraphShape)
            if each.name in _MOST
        }
        shape = GraphShape(kind=sizes.choice("kind", get_args(StudentKind)), dropout=sizes.number("dropout"), **values)
        sizes.finish()
        return shape
    except DataFormatError:
        raise
    except ScenewiseError as error:
        raise DataFormatError(path, "shape", expected="sizes of a graph network", got=str(error)[:120], fix=_FIX) from error

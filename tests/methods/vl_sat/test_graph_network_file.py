"""A trained student as a file: what comes back, what it answers, and that no file can do more than be refused."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.support.file_mutations import assert_reader_survives
from tests.support.graph_batches import SHAPES
from tests.support.graph_examples import ALONE, tiny_data

from scenewise.errors import DataFormatError
from scenewise.io.tensor_files import write_tensors
from scenewise.methods.vl_sat import network_file
from scenewise.methods.vl_sat.network_file import GraphNetwork, Learned, read_graph_network, write_graph_network
from scenewise.methods.vl_sat.predicting import student_answer
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.networks.graphs.students import GraphStudent, build_student
from scenewise.parts.graphs.building import RelationNetwork

LEARNED = Learned(tuple("abcde"), ("left", "right", "on", "in"), {"data": "none", "steps": 3, "figures": {"A@1": 0.5}})


def kept(path: Path, kind: str = "vl_sat", seed: int = 0) -> GraphStudent:
    student = build_student(SHAPES[kind], seed)
    write_graph_network(path, student, LEARNED)
    return student


def pairs_of(count: int) -> np.ndarray:
    return np.array([(a, b) for a in range(count) for b in range(count) if a != b])


@pytest.mark.parametrize("kind", tuple(SHAPES))
def test_the_file_gives_back_the_network_in_half_precision(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.safetensors"
    student = kept(path, kind)
    found = read_graph_network(path)
    assert found.learned == LEARNED and found.student.shape == SHAPES[kind] and found.name == "net"
    assert (found.class_names, found.predicates) == (LEARNED.classes, LEARNED.predicates)
    assert isinstance(found, RelationNetwork)
    state = found.student.state_dict()
    assert state.keys() == student.state_dict().keys()
    for name, tensor in student.state_dict().items():
        assert torch.equal(state[name], tensor.half().float() if tensor.is_floating_point() else tensor)
    assert not found.student.training and not any(each.requires_grad for each in found.student.parameters())
    assert path.stat().st_size < 2.5 * sum(each.numel() for each in student.state_dict().values()) + 20_000
    written = path.read_bytes()
    write_graph_network(path, found.student, found.learned)
    assert path.read_bytes() == written and read_graph_network(path, "mine").name == "mine"


def test_it_answers_as_the_network_that_was_trained(tmp_path: Path) -> None:
    data, other = tiny_data()
    trainer = VlSatTrainer(ALONE, data, None, 0)
    while trainer.steps_done < trainer.total_steps:
        trainer.step()
    path = tmp_path / "net.safetensors"
    write_graph_network(path, trainer.student, Learned(data.classes, data.predicates, {}))
    network, scan = read_graph_network(path), other.examples[0].scan
    spread = np.stack(
        [points[np.linspace(0, len(points) - 1, ALONE.points).round().astype(int)] for points in scan.points_in_world]
    )
    turned = replace(other.examples[0], scan=replace(scan, points_in_world=tuple(network_file._along_walls(spread))))
    wanted = student_answer(trainer.student, turned)
    found = network.answer(scan.points_in_world, ["x"] * 3, [0.5] * 3, wanted.pairs)
    assert np.allclose(found.class_probabilities, wanted.classes, atol=0.02)
    assert np.allclose(found.predicate_scores, wanted.predicates, atol=0.02)
    assert (found.predicate_scores >= 0).all() and (found.predicate_scores <= 1).all()
    assert np.allclose(found.class_probabilities.sum(1), 1.0, atol=1e-5)


def test_a_scene_is_read_along_its_walls_whichever_way_it_stands(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points = (rng.uniform(-1, 1, (3, 40, 3)) * [4.0, 2.0, 1.0] + [5.0, -7.0, 0.5]).astype(np.float32)
    c, s = np.cos(0.7), np.sin(0.7)
    turned = points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=np.float32)
    found, other = network_file._along_walls(points), network_file._along_walls(turned)
    sides = np.ptp(other.reshape(-1, 3), axis=0)
    assert np.allclose(sides, np.ptp(found.reshape(-1, 3), axis=0), atol=0.02) and sides[0] > sides[1]
    assert np.allclose(np.sort(np.abs(found).reshape(-1, 3), axis=0), np.sort(np.abs(other).reshape(-1, 3), axis=0), atol=0.05)


def test_directions_are_left_to_whoever_knows_the_view(tmp_path: Path) -> None:
    data, other = tiny_data()
    trainer = VlSatTrainer(ALONE, data, None, 0)
    path = tmp_path / "net.safetensors"
    predicates = ("left", *data.predicates[1:])
    write_graph_network(path, trainer.student, Learned(data.classes, predicates, {}))
    scan = other.examples[0].scan
    said = read_graph_network(path).answer(scan.points_in_world, ["x"] * 3, [0.5] * 3, np.array([[0, 1], [2, 0]]))
    assert (said.predicate_scores[:, 0] == 0).all() and (said.predicate_scores[:, 1:] > 0).all()


def test_names_and_confidences_are_not_looked_at_and_pairs_are_answered_in_their_order(tmp_path: Path) -> None:
    kept(tmp_path / "net.safetensors")
    network, rng = read_graph_network(tmp_path / "net.safetensors"), np.random.default_rng(0)
    points = [rng.normal(size=(count, 3)).astype(np.float32) for count in (30, 1, 9, 4)]
    pairs = pairs_of(4)
    first = network.answer(points, ["a"] * 4, [0.9] * 4, pairs)
    again = network.answer(points, ["lamp", "", "b", "c"], [0.1] * 4, pairs)
    assert np.array_equal(first.class_probabilities, again.class_probabilities)
    assert np.array_equal(first.predicate_scores, again.predicate_scores)
    assert np.isfinite(first.predicate_scores).all() and first.predicate_scores.shape == (12, 4)
    turned = network.answer(points, ["a"] * 4, [0.9] * 4, pairs[::-1])
    assert np.allclose(turned.predicate_scores[::-1], first.predicate_scores, atol=1e-5)
    alone = network.answer(points[:1], ["a"], [0.9], np.zeros((0, 2), dtype=np.int64))
    assert alone.class_probabilities.shape == (1, 5) and alone.predicate_scores.shape == (0, 4)


# ------------------------------------------------------------------------------------------------------------ hostile files


def changed_file(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with safe_open(path, framework="pt") as file:
        about, tensors = json.loads(file.metadata()["graph_network"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = change(about)
    save_file(tensors, path, metadata={"graph_network": text if isinstance(text, str) else json.dumps(text)})


def shaped(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda about: about | {"shape": about["shape"] | changes}


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: [], "metadata graph_network: expected an object"),
        (lambda about: "not JSON", "expected a graph_network file"),
        (lambda about: about | {"format": "scenewise graph network 9"}, "format: expected scenewise graph network 1"),
        (lambda about: about | {"shape": 3}, "shape: expected an object"),
        (lambda about: about | {"classes": "abcde"}, "classes: expected a list of texts"),
        (lambda about: about | {"predicates": [1, 2, 3, 4]}, "predicates: expected a list of texts"),
        (lambda about: about | {"about": []}, "about: expected an object"),
        (lambda about: about | {"classes": ["a"]}, "names: expected 5 classes and 4 predicates, got 1 and 4"),
        (shaped(width="16"), "width: expected a whole number"),
        (shaped(width=16.0), "width: expected a whole number"),
        (shaped(width=True), "width: expected a whole number"),
        (shaped(width=10**9), "width: expected a whole number"),
        (shaped(depth=10**6), "depth: expected a whole number"),
        (shaped(points=10**6), "points: expected a whole number"),
        (shaped(points=0), "points: expected a whole number"),
        (shaped(width=20, heads=8), "shape: expected sizes of a graph network"),
        (shaped(width=4096), "expected 6144×128, got 24×128"),
        (shaped(depth=16), "got nothing"),
        (shaped(kind="sgpn"), "pairs.backbone.layers.0.weight: expected 64×4, got nothing"),
        (shaped(kind="anything"), "kind: expected 'vl_sat' or 'sgfn' or 'sggpoint' or 'sgpn', got \"anything\""),
        (shaped(kind=["sgfn"]), "kind: expected 'vl_sat' or"),
        (shaped(dropout=2.0), "shape: expected sizes of a graph network"),
        (shaped(dropout=-0.1), "shape: expected sizes of a graph network"),
        (shaped(dropout="no"), "dropout: expected a finite number"),
        (shaped(dropout=float("nan")), "dropout: expected a finite number"),
        (shaped(depths=2), "expected only known keys, got 'depths'"),
        (lambda about: about | {"class": []}, "expected only known keys, got 'class'"),
    ],
)
def test_a_description_that_lies_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    path = tmp_path / "net.safetensors"
    kept(path)
    changed_file(path, change)
    with pytest.raises(DataFormatError, match=re.escape(message)):
        read_graph_network(path)


@pytest.mark.errors
def test_a_kind_whose_weights_would_fit_is_still_none_of_ours(tmp_path: Path) -> None:
    """Without attention of its own any unknown kind would have passed for SGFN."""
    path = tmp_path / "net.safetensors"
    kept(path, "sgfn")
    changed_file(path, shaped(kind="my own"))
    with pytest.raises(DataFormatError, match="kind"):
        read_graph_network(path)


@pytest.mark.errors
def test_missing_foreign_and_cut_files_and_numbers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(DataFormatError, match=r"net\.safetensors"):
        read_graph_network(path)
    student = kept(path)
    whole = path.read_bytes()
    for broken in (b"", b"PK\x03\x04", whole[:7], whole[:-20], whole[: len(whole) // 2], whole + b"more"):
        path.write_bytes(broken)
        with pytest.raises(DataFormatError):
            read_graph_network(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(DataFormatError, match="expected a graph_network file"):
        read_graph_network(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"scenewise": "{}"})
    with pytest.raises(DataFormatError, match="expected a graph_network file"):
        read_graph_network(path)
    about = {"format": "scenewise graph network 1", "shape": asdict(student.shape), **asdict(LEARNED)}
    for number in (float("nan"), float("inf")):
        tensors = {name: each.clone() for name, each in student.state_dict().items()}
        tensors["classifier.directions"][1, 2] = number
        write_tensors(path, tensors, "graph_network", about)
        with pytest.raises(DataFormatError, match="expected finite numbers"):
            read_graph_network(path)


def test_damaged_files_are_refused_with_one_message(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    student = build_student(replace(SHAPES["sgfn"], depth=1), 0)
    write_graph_network(path, student, LEARNED)

    def read(file: Path) -> GraphNetwork:
        return read_graph_network(file)

    assert_reader_survives(read, path.read_bytes(), path, count=150)

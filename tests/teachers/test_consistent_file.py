"""A pair of branches in a file: what comes back, and what is refused before anything of it is used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scenewise.errors import DataFormatError
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.teachers import consistent_file
from scenewise.teachers.consistent_file import FILE, AboutPair, read_pair, write_pair

SHAPE = ConsistentShape(dim=6, tower_width=10, tower_depth=5, image_width=16, backbone_width=0.125, text_dim=9)
ABOUT = AboutPair("small-clip", "ab" * 32, 9, 0.05, 320, "CC0-1.0", {"rooms": 3, "figures": {"cosine": 0.5}})
KIND = "consistent_features"
Change = Callable[[dict[str, torch.Tensor], dict[str, Any]], object]


@pytest.fixture(scope="module")
def pair() -> ConsistentPair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ConsistentPair(SHAPE, 9)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, pair: ConsistentPair) -> Path:
    path = tmp_path_factory.mktemp("pair") / FILE
    write_pair(path, pair, ABOUT)
    return path


def changed(file: Path, to: Path, change: Change) -> Path:
    tensors, about = read_tensors(file, KIND)
    change(tensors, about)
    write_tensors(to, tensors, KIND, about)
    return to


def test_what_was_written_is_read_in_half_precision(file: Path, pair: ConsistentPair) -> None:
    found = read_pair(file)
    assert found.about == ABOUT and found.pair.shape == SHAPE
    assert not found.pair.training and not any(each.requires_grad for each in found.pair.parameters())
    wanted, got = pair.state_dict(), found.pair.state_dict()
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        assert got[name].dtype == value.dtype
        assert torch.equal(got[name], value.half().to(value.dtype) if value.is_floating_point() else value), name
    assert pair.training and all(each.requires_grad for each in pair.parameters()), "the pair that was written is left alone"


def test_the_fingerprint_is_that_of_the_content(file: Path, pair: ConsistentPair, tmp_path: Path) -> None:
    write_pair(tmp_path / "again", pair, ABOUT)
    assert read_pair(tmp_path / "again").fingerprint == read_pair(file).fingerprint
    moved = changed(file, tmp_path / "moved", lambda tensors, _: tensors["translator.bias"].add_(0.5))
    assert read_pair(moved).fingerprint != read_pair(file).fingerprint


WRONG: dict[str, tuple[Change, str]] = {
    "another format": (lambda _, about: about.update(format="scenewise consistent features 0"), "format: expected scenewise"),
    "no shape": (lambda _, about: about.pop("shape"), "shape"),
    "a backbone nobody knows": (lambda _, about: about["shape"].update(backbone="resnet"), "backbone"),
    "a width without sense": (lambda _, about: about["shape"].update(backbone_width=-1.0), "backbone_width"),
    "an entry too many": (lambda _, about: about["shape"].update(more=1), "more"),
    "another space of words": (lambda _, about: about["shape"].update(text_dim=8), "expected sizes of a pair, got prior_dim"),
    "a voxel without length": (lambda _, about: about.update(voxel=0.0), "voxel: expected an edge in metres"),
    "a tensor that is missing": (
        lambda tensors, _: tensors.pop("points.score.bias"),
        "points.score.bias: expected 1, got nothing",
    ),
    "not a number": (
        lambda tensors, _: tensors["image.project.weight"][0].fill_(float("nan")),
        "image.project.weight: expected fin",
    ),
    "infinity": (lambda tensors, _: tensors["translator.bias"].fill_(float("inf")), "translator.bias: expected finite"),
}


@pytest.mark.errors
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(file: Path, tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(DataFormatError, match=message):
        read_pair(changed(file, tmp_path / FILE, change))


@pytest.mark.errors
def test_damaged_and_foreign_files_are_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for name, damaged in {
        "cut": content[:-10],
        "empty": b"",
        "text": b"no weights at all",
        "head": b"\xff" * 16 + content[16:],
    }.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataFormatError, match=name):
            read_pair(tmp_path / name)
    tensors, about = read_tensors(file, KIND)
    write_tensors(tmp_path / "other", tensors, "posed_scan", about)
    with pytest.raises(DataFormatError, match=r"other.*the file is damaged, or of another version"):
        read_pair(tmp_path / "other")
    with pytest.raises(DataFormatError, match="nowhere"):
        read_pair(tmp_path / "nowhere")


@pytest.mark.errors
def test_sizes_are_compared_before_anything_is_allocated(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def recorded(shape: ConsistentShape, prior_dim: int) -> ConsistentPair:
        made = ConsistentPair(shape, prior_dim)
        built.append(made.translator.weight.device.type)
        return made

    monkeypatch.setattr(consistent_file, "ConsistentPair", recorded)
    huge = changed(file, tmp_path / FILE, lambda _, about: about["shape"].update(image_width=4096, tower_width=16384))
    with pytest.raises(DataFormatError, match="got 10"):
        read_pair(huge)
    assert built == ["meta"]
    read_pair(file)
    assert built == ["meta", "meta", "cpu"]

"""A trained classifier as a file, which can do no more than be refused; and classes by words alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.support.file_mutations import assert_reader_survives
from tests.support.tiny_objects import NAMES, tiny_object, tiny_objects
from tests.support.tiny_pair import PAIR_VOXEL, write_tiny_pair

from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, DataFormatError
from scenewise.methods.condense.classification.network_file import LearnedClasses, read_classifier, write_classifier
from scenewise.methods.condense.classification.predicting import class_probabilities
from scenewise.methods.condense.classification.zero_shot import WordClassifier, object_in_words
from scenewise.networks.object_classifier import ClassifierShape, ObjectClassifier
from scenewise.scenes.classified_clouds import ClassifiedCloud
from scenewise.teachers.consistent import ConsistentFeatures, open_consistent
from scenewise.teachers.prompts import vocabulary_from_words

LEARNED = LearnedClasses(NAMES, "metres", 0.1, 80, {"steps": 3})


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with compute_threads(1):
        yield


def network_of(seed: int = 0) -> ObjectClassifier:
    torch.manual_seed(seed)
    return ObjectClassifier(ClassifierShape(3, backbone_width=0.125, hidden=4)).eval()


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> ConsistentFeatures:
    return open_consistent(f"condense:{write_tiny_pair(tmp_path_factory.mktemp('pair'))}", device="cpu")


def test_the_file_gives_back_the_network_in_half_precision(tmp_path: Path) -> None:
    path, network = tmp_path / "net.safetensors", network_of()
    write_classifier(path, network, LEARNED)
    found = read_classifier(path)
    assert found.learned == LEARNED and found.classes == NAMES and found.name == "net" and found.network.shape == network.shape
    state = found.network.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor.half().float() if tensor.is_floating_point() else tensor)
    assert not found.network.training and not any(each.requires_grad for each in found.network.parameters())
    clouds = tiny_objects(2).clouds
    wanted = class_probabilities(found.network, clouds, scale="metres", voxel=0.1, points=80)
    np.testing.assert_array_equal(found.probabilities(clouds), wanted)
    written = path.read_bytes()
    write_classifier(path, found.network, found.learned)
    assert path.read_bytes() == written and read_classifier(path, "mine").name == "mine"


@pytest.mark.errors
def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    write_classifier(path, network_of(), LEARNED)
    assert assert_reader_survives(read_classifier, path.read_bytes(), other, count=40) > 10
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["object_classifier"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)

    def changed(message: str, shape: dict | None = None, cut: str | None = None, **fields: object) -> None:
        described = {**about, "shape": {**about["shape"], **(shape or {})}, **fields}
        rest = {name: tensor for name, tensor in tensors.items() if name != cut}
        save_file(rest, other, metadata={"object_classifier": json.dumps(described)})
        with pytest.raises(DataFormatError, match=message):
            read_classifier(other)

    changed("format: expected scenewise object classifier 1", format="another")
    changed("classes: expected 3 names, got 2", classes=["a", "b"])
    changed("voxel: expected an edge above 0", voxel=0.0)
    changed("scale", scale="feet")
    changed("points", points=0)
    changed("sizes of a classifier", shape={"backbone_width": 0.0})
    changed("hidden", shape={"hidden": -1})
    changed("backbone", shape={"backbone": "pointnet"})
    changed("head.0.weight", shape={"hidden": 5})
    changed("head.2.bias", cut="head.2.bias")
    with pytest.raises(DataFormatError, match="expected a file, got nothing"):
        read_classifier(tmp_path / "none.safetensors")


def test_words_are_compared_with_the_mean_of_voxels_by_their_scores(features: ConsistentFeatures) -> None:
    cloud = tiny_object(2, 5)
    assert cloud.colors_u8 is not None
    said = features.of_points(cloud.points_in_object, cloud.colors_u8)
    assert len(np.unique(said.scores)) > 3
    mean = np.zeros(features.dim)
    for feature, score in zip(said.features, said.scores):
        mean += score * feature
    wanted = features.translated((mean / np.linalg.norm(mean)).astype(np.float32))
    found = object_in_words(features, cloud.points_in_object, cloud.colors_u8)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)

    vocabulary = vocabulary_from_words("chair, sofa|bed, table", ("a {}", "one {}"))
    namer = WordClassifier(features, vocabulary)
    assert namer.classes == ("chair", "sofa", "table") and namer.name == f"the words of {features.name}"
    text = features.embed_text(("chair", "sofa", "bed", "table"), ("a {}", "one {}"))
    powers = np.exp(features.logit_scale * (text @ wanted - (text @ wanted).max()).astype(np.float64))
    shares = np.array([powers[0], max(powers[1], powers[2]), powers[3]])
    row = namer.probabilities([cloud])
    np.testing.assert_allclose(row[0], shares / shares.sum(), atol=1e-4)
    np.testing.assert_allclose(namer.probabilities([tiny_object(0, 1), cloud])[1], row[0], atol=1e-5)
    assert namer.probabilities([]).shape == (0, 3)


def test_a_cloud_without_colours_is_grey(features: ConsistentFeatures) -> None:
    cloud = tiny_object(1, 2)
    grey = np.full(cloud.points_in_object.shape, 128, np.uint8)
    np.testing.assert_array_equal(
        object_in_words(features, cloud.points_in_object, None), object_in_words(features, cloud.points_in_object, grey)
    )


@pytest.mark.errors
def test_what_no_words_are_found_for(features: ConsistentFeatures) -> None:
    far = np.array([[0.0, 0, 0], [50_000 * PAIR_VOXEL + 1, 0, 0]], np.float32)
    namer = WordClassifier(features, vocabulary_from_words("chair, table", ("{}",)))
    with pytest.raises(ConventionError, match=r"points: expected fewer than 50000 voxels a side, got 5e\+04"):
        namer.probabilities([ClassifiedCloud("far", far, 0)])
    with pytest.raises(ConventionError, match="points: expected at least one"):
        object_in_words(features, far[:0], None)
    with pytest.raises(ConventionError, match="zebra"):
        WordClassifier(features, vocabulary_from_words("chair, zebra", ("{}",)))

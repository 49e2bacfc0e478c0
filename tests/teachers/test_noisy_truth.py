"""The instrument's errors come at the stated rates, of the stated kinds, and the same each time."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import ConventionError, DataFormatError
from scenewise.parts.words.pixel_classes import ask_for_classes, classify_pixels, kind_of_answers
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.noisy_truth import NoiseRates, NoisyTruth, read_noise_rates

NAMES = ("wall", "floor", "ceiling", "bed", "chair", "table")
VOCABULARY = Vocabulary(NAMES, tuple((name,) for name in NAMES), ("{}",), class_colors(len(NAMES)))
RATES_FILE = Path(__file__).parents[2] / "src" / "scenewise" / "studies" / "noise_rates.json"


def blocks(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """A picture of 24-pixel blocks of random classes, some of them unknown."""
    classes = np.random.default_rng(seed).integers(-1, len(NAMES), (height // 24, width // 16))
    return np.repeat(np.repeat(classes, 24, axis=0), 16, axis=1)


def teacher(rates: NoiseRates, seed: int = 0) -> NoisyTruth:
    return NoisyTruth(lambda name: blocks(int(name.rpartition("/")[2])), VOCABULARY, rates, seed)


def wrong_share(rates: NoiseRates, frames: int = 30, scene: str = "one") -> float:
    shares = []
    for number in range(frames):
        truth = blocks(number)
        said = teacher(rates).spoiled(truth, f"{scene}/{number}")
        assert (said[truth < 0] == -1).all()
        shares.append(float((said != truth)[truth >= 0].mean()))
    return float(np.mean(shares))


@pytest.mark.parametrize(
    ("rates", "stated"),
    [
        (NoiseRates(), 0.0),
        (NoiseRates(pixels=0.3), 0.3),
        (NoiseRates(patches=0.3), 0.3),
        (NoiseRates(bleed=0.2), 0.2),
        (NoiseRates(anomalies=0.2), 0.2),
        (NoiseRates(pixels=0.15, patches=0.15, bleed=0.1), 0.4),
    ],
)
def test_wrong_pixels_are_as_many_as_stated(rates: NoiseRates, stated: float) -> None:
    assert wrong_share(rates) == pytest.approx(stated, abs=0.012)


def test_objects_are_confused_whole_and_as_often_as_stated() -> None:
    assert wrong_share(NoiseRates(objects=0.3), frames=60) == pytest.approx(0.3, abs=0.05)
    truth = blocks(3)
    said = teacher(NoiseRates(objects=0.5)).spoiled(truth, "one/3")
    each_block = said.reshape(4, 24, 8, 16).transpose(0, 2, 1, 3).reshape(32, -1)
    assert (each_block == each_block[:, :1]).all()


def test_only_noise_at_borders_stays_near_them() -> None:
    truth = np.zeros((96, 128), dtype=np.int64)
    truth[:, 50:] = 3
    said = teacher(NoiseRates(bleed=0.1)).spoiled(truth, "one/0")
    columns = np.flatnonzero((said != truth).any(axis=0))
    assert columns.min() > 30 and columns.max() < 70
    assert set(np.unique(said)) == {0, 3}


def test_anomalies_of_a_view_say_one_class() -> None:
    truth = blocks(1)
    said = teacher(NoiseRates(anomalies=0.3)).spoiled(truth, "one/1")
    assert len(np.unique(said[said != truth])) == 1


def test_a_scene_is_confused_the_same_way_in_all_views_and_others_differently() -> None:
    rates = NoiseRates(scenes=0.5, scene_classes=1 / 3)
    confused = [teacher(rates).confusion_of_scene(f"scene{number}") for number in range(200)]
    identity = np.arange(len(NAMES))
    affected = [table for table in confused if (table != identity).any()]
    assert 75 <= len(affected) <= 125
    assert {int((table != identity).sum()) for table in affected} == {2}
    assert len({tuple(table.tolist()) for table in affected}) > 20
    scene = next(f"scene{number}" for number in range(200) if (confused[number] != identity).any())
    table = teacher(rates).confusion_of_scene(scene)
    for number in (1, 2):
        truth = blocks(number)
        said = teacher(rates).spoiled(truth, f"{scene}/{number}")
        assert (said == np.where(truth >= 0, table[truth], -1)).all()


def test_global_confusion_is_the_same_everywhere() -> None:
    noisy = teacher(NoiseRates(global_pairs=(("chair", "table"),)), seed=5)
    for scene in ("one", "two"):
        truth = blocks(2)
        said = noisy.spoiled(truth, f"{scene}/2")
        assert (said == np.where(truth == 4, 5, truth)).all()


def test_dice_depend_on_seed_scene_and_frame_alone() -> None:
    truth = blocks(0)
    pixels = NoiseRates(pixels=0.2)
    one = teacher(pixels).spoiled(truth, "one/0")
    assert (one == teacher(pixels).spoiled(truth, "one/0")).all()
    assert (one != teacher(pixels).spoiled(truth, "two/0")).any()
    assert (one != teacher(pixels, seed=1).spoiled(truth, "one/0")).any()
    # Another kind beside it leaves its dice alone: the confusion of scenes does not change with the rate of pixels.
    both = NoiseRates(pixels=0.2, scenes=1.0, scene_classes=0.5)
    alone = NoiseRates(scenes=1.0, scene_classes=0.5)
    assert (teacher(both).confusion_of_scene("one") == teacher(alone).confusion_of_scene("one")).all()


def test_answers_reach_the_classifier_of_pixels_unchanged() -> None:
    noisy = teacher(NoiseRates(pixels=0.3))
    image = np.zeros((96, 128, 3), dtype=np.uint8)
    assert kind_of_answers(noisy) == "probabilities"
    field = noisy.dense(image, "one/4")
    assert field is not None
    ids, confidence = classify_pixels(field, ask_for_classes(noisy, VOCABULARY, "probabilities"), noisy.logit_scale)
    said = noisy.spoiled(blocks(4), "one/4")
    assert (ids == said).all() and (confidence == (said >= 0)).all()
    assert noisy.fingerprint != teacher(NoiseRates(pixels=0.3), seed=1).fingerprint != teacher(NoiseRates()).fingerprint


def test_the_committed_rates_are_read() -> None:
    rates = read_noise_rates(RATES_FILE)
    assert rates["abc40"].pixels + rates["abc40"].patches + rates["abc40"].bleed == pytest.approx(0.4)
    assert rates["e"].scenes == 0.5 and rates["e"].scene_classes == pytest.approx(1 / 3, abs=1e-3)
    assert len(rates["f"].global_pairs) == 3


def test_rates_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match=r"NoiseRates.pixels: expected a share from 0 to 1, got 1.5"):
        NoiseRates(pixels=1.5)
    with pytest.raises(ConventionError, match=r"global_pairs: expected classes among wall.*, got sofa"):
        teacher(NoiseRates(global_pairs=(("sofa", "bed"),)))
    path = tmp_path / "rates.json"
    path.write_text('{"rates": [{"name": "x", "pixel": 0.1}]}')
    with pytest.raises(DataFormatError, match=r"did you mean 'pixels'"):
        read_noise_rates(path)

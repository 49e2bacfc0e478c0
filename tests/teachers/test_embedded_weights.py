"""The weights that ship: their size, their card, and floors under what they can do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.methods.condense.held_out import held_out_figures
from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.options import ROOMS
from scenewise.methods.condense.rooms import RoomScans, fused_seed, posed_room
from scenewise.methods.small_clip.config import PictureSettings
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room
from scenewise.methods.small_clip.train import crop_accuracy, training_language
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.parts.words.pixel_classes import ask_for_classes, classify_pixels
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.choose import open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import WEIGHTS as PAIR
from scenewise.teachers.consistent import open_consistent
from scenewise.teachers.small_clip import WEIGHTS, load_small_clip
from scenewise.teachers.towers import VisionTower
from scenewise.worlds.captions import AFFORDANCES, SYNONYMS
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS

FOLDER = WEIGHTS.parent


def test_weights_are_small_and_every_file_has_a_card() -> None:
    files = sorted(FOLDER.glob("*.safetensors"))
    assert WEIGHTS in files and WEIGHTS.stat().st_size <= 8_000_000
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    for path in files:
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert path.name in card and "Licence" in card and "Limits" in card


def test_both_branches_of_the_pair_agree_on_a_room() -> None:
    model = open_consistent("condense")
    assert FOLDER / "condense.safetensors" == PAIR and PAIR.stat().st_size <= 4_000_000
    teacher = open_teacher("small-clip", device="cpu")
    assert isinstance(teacher, ClipTeacher) and isinstance(teacher.clip.tower, VisionTower)
    seen = RoomScans(views=4, width=192, height=144)
    scan = posed_room(fused_seed(VALIDATION_SEEDS[7], seen), "room", teacher)
    config = replace(ROOMS, voxel=model.about.voxel)

    class Scans(list[PosedScan]):
        weights = (1.0,)
        fingerprint = "one"

    frozen = FrozenTower(teacher.clip.tower, teacher.clip.tower.dim)
    found = held_out_figures(model.pair, frozen, Scans([scan]), config)
    assert found is not None
    assert found.cosine > 0.75 and min(found.image_rank, found.volume_rank) > 10 and found.matched > 0.03


def test_the_words_are_those_of_the_training_world() -> None:
    assert load_small_clip().language == training_language()


def test_single_things_are_named() -> None:
    """Chance is 6.7 %."""
    pictures = Pictures.joined([pictures_of_room(VALIDATION_SEEDS[i], PictureSettings()) for i in range(6)])
    accuracy, mean_class = crop_accuracy(load_small_clip(), pictures)
    assert accuracy > 0.5 and mean_class > 0.4


def test_pixels_are_named_and_the_image_level_answer_stays_the_same() -> None:
    teacher = open_teacher("small-clip", device="cpu")
    vocabulary = Vocabulary(
        CLASS_NAMES, tuple(SYNONYMS[name] for name in CLASS_NAMES), teacher.default_templates(), ((0, 0, 0),) * len(CLASS_NAMES)
    )
    question = ask_for_classes(teacher, vocabulary)
    tower = load_small_clip().tower
    probe = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    before = tower.embed_images(probe)
    matrix = ConfusionMatrix(CLASS_NAMES)
    for seed in VALIDATION_SEEDS[:2]:
        room = furnished_room(seed)
        for camera in (room_cameras(room, 4, 160, 120)[i] for i in (0, 2)):
            field = teacher.dense(photograph(room, camera), "view")
            assert field is not None
            matrix.update(classify_pixels(field, question, teacher.logit_scale)[0], truth(room, camera).class_ids)
    scores = matrix.scores()
    assert scores.miou > 0.2 and scores.all_accuracy > 0.4  # chance 2.4 % and 6.7 %
    assert torch.equal(before, tower.embed_images(probe))


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("where can I sit", {"chair", "sofa"}),
        ("somewhere to sleep", {"bed"}),
        ("What gives light?", {"lamp"}),
        ("a couch", {"sofa"}),
    ],
)
def test_what_things_are_for_is_understood(question: str, things: set[str]) -> None:
    model = load_small_clip()
    names = model.embed_text(CLASS_NAMES, model.language.templates)
    asked = model.embed_text([question], ("{}",))[0]
    ranked = [CLASS_NAMES[i] for i in np.argsort(-(names @ asked))]
    assert ranked[0] in things, ranked[:4]


def test_every_purpose_it_was_trained_on_can_be_asked_for() -> None:
    model = load_small_clip()
    for affordance in AFFORDANCES:
        for text in (*affordance.phrases, *affordance.questions):
            assert model.check_words(text), text


def test_words_it_has_never_seen_are_refused() -> None:
    with pytest.raises(ConventionError, match="wall, floor"):
        load_small_clip().embed_text(["a giraffe"], ("{}",))

"""The settings that the paper's scenes were trained with."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from scenewise.io.city_datasets import scene_name
from scenewise.io.datasets import DATASET_PRESETS
from scenewise.methods.momentum_gs.config import PAPER
from scenewise.methods.momentum_gs.scenes import PUBLISHED_SCENES
from scenewise.methods.momentum_gs.stages import published
from scenewise.scenes.captures import Capture


def test_every_scene_is_one_that_its_preset_opens_at_the_same_size():
    for name, scene in PUBLISHED_SCENES.items():
        preset = DATASET_PRESETS[scene.data_set]
        assert name == scene.name and preset.scene_factors[name] == scene.downscale and preset.widest_image == scene.widest_image
    opened = {name for data_set in ("mill19", "urban_scene3d", "matrix_city") for name in DATASET_PRESETS[data_set].scene_factors}
    assert opened == set(PUBLISHED_SCENES)


def test_boxes_have_an_inside_and_there_are_eight_blocks():
    for scene in PUBLISHED_SCENES.values():
        if scene.aabb is not None:
            assert all(low < high for low, high in zip(scene.aabb[:3], scene.aabb[3:])) and scene.blocks == 8
    assert [name for name, scene in PUBLISHED_SCENES.items() if scene.blocks is None] == ["campus"]


def test_the_numbers_of_the_release():
    """Once more and differently, so that a slip of the hand shows: λ, σ, τ and the longest side of the box."""
    figures = {
        name: (scene.consistency_weight, scene.sigma, scene.visibility_threshold, scene.aabb and scene.aabb[5] - scene.aabb[2])
        for name, scene in PUBLISHED_SCENES.items()
    }
    assert figures == {
        "building": (50, 9, 0.03, 250),
        "rubble": (100, 12, 0.05, 130),
        "residence": (50, 10, 0.03, 330),
        "sci-art": (100, 13, 0.03, 295),
        "campus": (None, None, None, None),
        "aerial": (50, 9, 0.05, 20),
    }
    upright = {name: scene.block_dim.index(1) for name, scene in PUBLISHED_SCENES.items() if scene.block_dim}
    assert upright == {"building": 1, "rubble": 1, "residence": 1, "sci-art": 1, "aerial": 2}  # never cut along the vertical
    assert {scene.voxel_size for scene in PUBLISHED_SCENES.values()} == {1e-4}


def test_a_folder_leads_to_its_settings():
    assert PUBLISHED_SCENES[scene_name(Path("data/sci-art-pixsfm"))].sigma == 13


def test_a_scene_of_the_paper_gets_its_settings_unless_somebody_says_otherwise():
    capture = Capture(Path("data/rubble-pixsfm"), "colmap", (), preset="mill19")
    found = published(PAPER, capture)
    assert (found.blocks, found.box) == ((2, 1, 4), (-50.0, -100.0, -135.0, 50.0, 300.0, -5.0))
    assert found.teacher is not None and found.weighting is not None
    assert (found.teacher.weight, found.weighting.sigma, found.assignment.threshold) == (100, 12, 0.05)
    own = published(replace(PAPER, blocks=(1, 1, 2), teacher=None), capture)
    assert own.blocks == (1, 1, 2) and own.teacher is None and own.box == found.box
    assert published(PAPER, replace(capture, preset=None)) is PAPER  # a folder of that name is not the scene
    assert published(PAPER, replace(capture, root=Path("data/downtown"))) is PAPER


def test_the_table_loads_without_torch():
    code = "import sys, scenewise.methods.momentum_gs.scenes as s; s.PUBLISHED_SCENES; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

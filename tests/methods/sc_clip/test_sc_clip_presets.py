"""The presets are the released configurations."""

import subprocess
import sys

import pytest

from scenewise.errors import ConventionError
from scenewise.methods.sc_clip.config import BASE, LARGE, PRESETS, PRESETS_LARGE, preset, steps_in_turn, teacher_settings
from scenewise.teachers.read_outs.settings import ScClipSettings

# logit scale, probability threshold, area threshold, short side: read in the released configuration of each data set.
RELEASED = {
    "voc21": (50.0, 0.15, 0.1, 336),
    "voc20": (40.0, 0.0, None, 336),
    "context60": (40.0, 0.15, None, 336),
    "context59": (40.0, 0.0, None, 336),
    "coco_object": (55.0, 0.35, None, 336),
    "coco_stuff": (40.0, 0.0, None, 336),
    "cityscapes": (40.0, 0.0, None, 560),
    "ade20k": (40.0, 0.0, None, 336),
}


def test_every_data_set_of_the_paper_has_its_values():
    assert set(PRESETS) == set(PRESETS_LARGE) == set(RELEASED)
    for name, config in PRESETS.items():
        data = config.dataset
        assert (data.logit_scale, data.probability_threshold, data.area_threshold, data.short_side) == RELEASED[name], name
        assert (data.crop, data.stride, data.long_side) == (224, 112, 2048), name
        assert config.teacher == BASE and preset(name) is config
        large = preset(name, large=True)
        assert large.teacher == LARGE and large.dataset is data and large.read_out == config.read_out


def test_the_read_out_has_the_published_values():
    published = ScClipSettings()
    assert all(
        (published.repair, published.feature_adjust, published.attention_adjust, published.output_adjust, published.two_pass)
    )
    assert (published.neighbours, published.contamination, published.beta, published.gain) == (30, 0.05, 0.4, 3.0)
    assert (published.class_residual, published.own_attention, published.keep_ffn) == (0.3, "key", False)
    assert published.output_beta is None and not published.centred
    assert all(config.read_out == published for config in PRESETS.values())


def test_a_preset_becomes_a_teacher():
    settings = teacher_settings(preset("cityscapes"))
    assert (settings.resize.short_side, settings.resize.long_side) == (560, 2048)
    assert (settings.windows.crop, settings.windows.stride) == (224, 112)
    assert teacher_settings(preset("coco_object")).logit_scale == 55.0
    assert settings.read_out == ScClipSettings() and len(settings.templates) == 80


def test_an_unknown_data_set_names_the_known():
    with pytest.raises(ConventionError, match=r"one of voc21, .*, got 'kitti'"):
        preset("kitti")


def test_the_ladder_ends_with_the_whole_method():
    ladder = steps_in_turn()
    assert list(ladder) == [
        "key_attention", "+ repair", "+ feature_adjust", "+ attention_adjust", "+ output_adjust", "+ two_pass",
    ]  # fmt: skip
    assert list(ladder.values())[-1] == ScClipSettings()
    assert len(set(ladder.values())) == 6
    first = ladder["key_attention"]
    assert not any((first.repair, first.feature_adjust, first.attention_adjust, first.output_adjust, first.two_pass))


def test_settings_are_read_without_torch():
    code = "import scenewise.teachers.read_outs, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

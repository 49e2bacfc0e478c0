"""Every read-out against loops over patches, and what its switches promise."""

from dataclasses import replace

import pytest
import torch
from tests.support.naive_read_outs import naive_adjusted_attention, naive_attention, naive_cosines, naive_sc_clip
from tests.support.tiny_tower import TinyTower

from scenewise.errors import ConventionError, ShapeError
from scenewise.teachers.read_outs import (
    READ_OUTS,
    ClearClipSettings,
    ClipSettings,
    MaskClipSettings,
    NaclipSettings,
    ScClipSettings,
    SclipSettings,
    aggregation,
    dense_tokens,
    dense_tokens_from_pass,
    name_of,
    read_out_named,
)
from scenewise.teachers.read_outs.aggregation import mean_similarity, similarity_attention, similarity_map, unit_tokens
from scenewise.teachers.read_outs.attention import attend, attention_weights, merge_heads, projected_keys, split_heads
from scenewise.teachers.read_outs.sc_clip import layers_of, self_adjusted_attention
from scenewise.teachers.read_outs.surgery import neighbourhood_bonus
from scenewise.teachers.towers import TokenPass, TransparentTower, VisionTower

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}  # float64 throughout


def images_of(batch: int = 1, rows: int = 4, columns: int = 7, seed: int = 1) -> torch.Tensor:
    """Non-square on purpose: swapped rows and columns must not go unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4 * rows, 4 * columns, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def tower() -> TinyTower:
    return TinyTower()


def test_the_tiny_tower_is_a_tower(tower):
    assert isinstance(tower, VisionTower) and isinstance(tower, TransparentTower)
    assert isinstance(TinyTower(has_class_token=False), VisionTower)


# --- all read-outs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", READ_OUTS.values(), ids=READ_OUTS)
@pytest.mark.parametrize("has_class_token", [True, False])
def test_an_image_gets_the_same_tokens_alone_and_in_a_batch(settings, has_class_token):
    tower = TinyTower(has_class_token=has_class_token)
    images = images_of(4)
    together = dense_tokens(tower, images, settings)
    assert together.shape == (4, 4, 7, tower.dim)
    for index in range(4):
        torch.testing.assert_close(dense_tokens(tower, images[index : index + 1], settings)[0], together[index], **TOLERANCE)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("settings", READ_OUTS.values(), ids=READ_OUTS)
def test_patches_keep_their_places(tower, settings):
    """Changing one corner of the image changes that corner's token most: rows first, then columns."""
    images = images_of()
    changed = images.clone()
    changed[:, :, 4:8, 20:24] += 3.0  # patch row 1, column 5
    moved = (dense_tokens(tower, changed, settings) - dense_tokens(tower, images, settings)).norm(dim=-1)[0]
    assert divmod(int(moved.argmax()), 7) == (1, 5)


@pytest.mark.parametrize("settings", READ_OUTS.values(), ids=READ_OUTS)
def test_no_read_out_changes_the_tower_or_the_pass(settings):
    tower = TinyTower()
    images = images_of(2)
    weights = {name: value.clone() for name, value in tower.state_dict().items()}
    embedding = tower.embed_images(images)
    passed = tower.tokens(images)
    before = [tokens.clone() for tokens in passed.hidden]
    out = dense_tokens_from_pass(tower, passed, settings)
    assert not out.requires_grad
    assert all(torch.equal(old, new) for old, new in zip(before, passed.hidden, strict=True))
    assert {name: value.shape for name, value in tower.state_dict().items()} == {n: v.shape for n, v in weights.items()}
    assert all(torch.equal(weights[name], value) for name, value in tower.state_dict().items())
    assert torch.equal(tower.embed_images(images), embedding)


def test_no_gradient_is_recorded():
    tower = TinyTower().requires_grad_(True)
    assert not dense_tokens(tower, images_of(), ScClipSettings()).requires_grad


@pytest.mark.parametrize("settings", READ_OUTS.values(), ids=READ_OUTS)
def test_half_precision_stays_finite(settings):
    tower = TinyTower(dtype=torch.bfloat16)
    out = dense_tokens(tower, images_of().to(torch.bfloat16), settings)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


@pytest.mark.parametrize("settings", READ_OUTS.values(), ids=READ_OUTS)
def test_one_patch_is_enough(tower, settings):
    assert dense_tokens(tower, images_of(2, 1, 1), settings).isfinite().all()


def test_names_and_settings_belong_together():
    assert list(READ_OUTS) == ["clip", "maskclip", "clearclip", "sclip", "naclip", "sc_clip"]
    for name, settings in READ_OUTS.items():
        assert name_of(settings) == name and read_out_named(name) is settings
    assert name_of(ScClipSettings(beta=0.2)) == "sc_clip"
    with pytest.raises(ConventionError, match="one of clip, maskclip, clearclip, sclip, naclip, sc_clip, got 'dino'"):
        read_out_named("dino")


def test_sides_must_be_multiples_of_the_patch(tower):
    with pytest.raises(ShapeError, match="multiples of the patch size 4, got 16×30"):
        dense_tokens(tower, torch.zeros(1, 3, 16, 30, dtype=torch.float64), ClipSettings())


# --- the last block, taken apart ---------------------------------------------------------------------------------------------


def parts(tower, images):
    passed = tower.tokens(images)
    x = passed.hidden[-1]
    block = tower.last_block
    normed = block.norm1(x)
    return x[0], block, block.query(normed)[0], block.key(normed)[0], block.value(normed)[0]


def grid(tower, tokens, rows=4, columns=7):
    return tower.head(tokens[None])[0, 1:].reshape(rows, columns, -1)


def test_clip_is_the_ordinary_forward_pass(tower):
    images = images_of(2)
    ordinary = tower.head(tower.last_block(tower.tokens(images).hidden[-1]))[:, 1:]
    torch.testing.assert_close(dense_tokens(tower, images, ClipSettings()).flatten(1, 2), ordinary, **TOLERANCE)


@pytest.mark.parametrize("keep_residual", [True, False])
@pytest.mark.parametrize("keep_ffn", [True, False])
@pytest.mark.parametrize("class_residual", [0.0, 0.5])
def test_maskclip_is_the_value_path(tower, keep_residual, keep_ffn, class_residual):
    images = images_of()
    x, block, _, _, value = parts(tower, images)
    u = block.out(value)
    if keep_residual:
        u = u + x
    u = u + class_residual * x[0]
    if keep_ffn:
        u = u + block.mlp(block.norm2(u))
    settings = MaskClipSettings(keep_residual, keep_ffn, class_residual)
    torch.testing.assert_close(dense_tokens(tower, images, settings)[0], grid(tower, u), **TOLERANCE)


def test_clearclip_mixes_values_by_queries(tower):
    images = images_of()
    _, block, query, _, value = parts(tower, images)
    u = block.out(naive_attention(query, query, value, block.num_heads))
    torch.testing.assert_close(dense_tokens(tower, images, ClearClipSettings())[0], grid(tower, u), **TOLERANCE)


@pytest.mark.parametrize("average", [True, False])
def test_sclip_adds_query_and_key_attention(tower, average):
    images = images_of()
    x, block, query, key, value = parts(tower, images)
    mixed = naive_attention(query, query, value, block.num_heads) + naive_attention(key, key, value, block.num_heads)
    u = x + block.out(mixed / 2 if average else mixed)
    u = u + block.feed_forward(u)
    torch.testing.assert_close(dense_tokens(tower, images, SclipSettings(average=average))[0], grid(tower, u), **TOLERANCE)


def test_naclip_favours_near_patches_but_not_the_class_token(tower):
    images = images_of()
    _, block, _, key, value = parts(tower, images)
    bonus = torch.zeros(29, 29, dtype=torch.float64)
    for i in range(28):
        for j in range(28):
            (ri, ci), (rj, cj) = divmod(i, 7), divmod(j, 7)
            bonus[1 + i, 1 + j] = torch.exp(torch.tensor(-((ri - rj) ** 2 + (ci - cj) ** 2) / 50.0))
    u = block.out(naive_attention(key, key, value, block.num_heads, bonus))
    torch.testing.assert_close(dense_tokens(tower, images, NaclipSettings())[0], grid(tower, u), rtol=1e-6, atol=1e-6)


def test_the_window_of_naclip_is_centred_at_the_own_patch():
    """Anchor: 3 rows, 5 columns, σ = 2.  Patch (1, 3) to itself, one to the left, one row down, and diagonally two away."""
    window = neighbourhood_bonus(3, 5, 2.0)[1 * 5 + 3].reshape(3, 5)
    assert divmod(int(window.argmax()), 5) == (1, 3)
    expected = {(1, 3): 1.0, (1, 2): 0.8824969, (2, 3): 0.8824969, (0, 2): 0.7788008, (1, 0): 0.3246525, (2, 1): 0.5352614}
    for place, value in expected.items():
        assert float(window[place]) == pytest.approx(value, abs=1e-7)


def test_attention_rows_add_to_one_and_heads_stay_together():
    generator = torch.Generator().manual_seed(0)
    left, right, value = (torch.randn(2, 5, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    weights = attention_weights(left, right, 3)
    assert weights.shape == (2, 3, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(merge_heads(weights @ split_heads(value, 3)), attend(left, right, value, 3))
    for image in range(2):
        torch.testing.assert_close(
            attend(left, right, value, 3)[image], naive_attention(left[image], right[image], value[image], 3)
        )
    assert torch.equal(split_heads(value, 3)[1, 2], value[1, :, 4:6])  # head 2 of 3 owns channels 4 and 5


def test_keys_for_smoothing_are_projected_and_without_class_token(tower):
    passed = tower.tokens(images_of())
    block = tower.last_block
    expected = block.out(block.key(block.norm1(passed.hidden[-1])))[:, 1:]
    assert torch.equal(projected_keys(block, passed.hidden[-1], passed), expected)


# --- SC-CLIP -----------------------------------------------------------------------------------------------------------------


def test_sc_clip_is_the_published_algorithm(tower):
    """Twenty lines of pseudo-code with loops over patches, twice: two images of a non-square batch."""
    images = images_of(2, 5, 4)
    batched = dense_tokens(tower, images, ScClipSettings())
    for index in range(2):
        torch.testing.assert_close(batched[index], naive_sc_clip(tower, images[index]), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("blocks", "pre", "post", "multi"),
    [
        (12, 8, 3, range(3, 10)),  # B/16 as released
        (24, 17, 6, range(6, 20)),  # L/14
        (6, 3, 1, range(1, 4)),
        (2, 0, 0, range(1)),
    ],
)
def test_fractions_of_the_depth_are_the_published_layers(blocks, pre, post, multi):
    layers = layers_of(ScClipSettings(), blocks - 1)
    assert (layers.pre, layers.post, layers.multi) == (pre, post, multi)


def test_a_tower_of_one_block_has_no_middle():
    with pytest.raises(ConventionError, match="at least two blocks, got 1"):
        dense_tokens(TinyTower(depth=1), images_of(), ScClipSettings())


OFF = ScClipSettings(
    repair=False, feature_adjust=False, attention_adjust=False, output_adjust=False, two_pass=False, class_residual=0.0
)


def test_everything_off_leaves_the_last_block_alone(tower):
    images = images_of(2)
    bare = dense_tokens(tower, images, replace(OFF, own_attention="value"))
    torch.testing.assert_close(bare, dense_tokens(tower, images, MaskClipSettings(False, False)), **TOLERANCE)
    with_class = dense_tokens(tower, images, replace(OFF, own_attention="value", class_residual=0.5, keep_ffn=True))
    torch.testing.assert_close(with_class, dense_tokens(tower, images, MaskClipSettings(False, True, 0.5)), **TOLERANCE)

    headless = TinyTower(has_class_token=False)
    block = headless.last_block
    normed = block.norm1(headless.tokens(images).hidden[-1])
    key = block.key(normed)
    mixed = block.out(attend(key, key, block.value(normed), block.num_heads))
    torch.testing.assert_close(dense_tokens(headless, images, OFF).flatten(1, 2), headless.head(mixed), **TOLERANCE)


@pytest.mark.parametrize("base", [OFF, ScClipSettings()], ids=["alone", "last"])
@pytest.mark.parametrize("switch", ["repair", "feature_adjust", "attention_adjust", "output_adjust", "two_pass"])
def test_every_switch_does_something(tower, switch, base):
    images = images_of(1, 6, 8)
    flipped = replace(base, **{switch: not getattr(base, switch)})
    assert (dense_tokens(tower, images, base) - dense_tokens(tower, images, flipped)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (replace(ScClipSettings(), repair=False), {"detector": "norm_topk", "neighbours": 3, "contamination": 0.4}),
        (replace(ScClipSettings(), two_pass=False), {"multi_start": 0.0, "multi_end": 1.0}),
        (replace(ScClipSettings(), attention_adjust=False), {"gain": 9.0}),
        (replace(ScClipSettings(), output_adjust=False), {"post": 0.9, "output_beta": 0.9}),
        (replace(ScClipSettings(), feature_adjust=False, attention_adjust=False), {"pre": 0.1}),
        (replace(ScClipSettings(), feature_adjust=False, output_adjust=False), {"beta": 0.9}),
    ],
)
def test_a_switch_that_is_off_silences_its_settings(tower, settings, idle):
    images = images_of(1, 6, 8)
    assert torch.equal(dense_tokens(tower, images, settings), dense_tokens(tower, images, replace(settings, **idle)))


@pytest.mark.parametrize(
    "change",
    [
        {"output_beta": 0.9},
        {"keep_ffn": True},
        {"centred": True},
        {"own_attention": "value"},
        {"class_residual": 1.0},
        {"detector": "norm_topk"},
        {"gain": 0.5},
        {"beta": 0.0},
    ],
)
def test_options_beyond_the_paper_do_something(tower, change):
    images = images_of(1, 6, 8)
    plain = dense_tokens(tower, images, ScClipSettings())
    assert (plain - dense_tokens(tower, images, ScClipSettings(**change))).abs().max() > 1e-6


def test_the_class_residual_means_nothing_without_a_class_token():
    tower = TinyTower(has_class_token=False)
    images = images_of()
    for settings in (ScClipSettings(), MaskClipSettings()):
        one, other = (dense_tokens(tower, images, replace(settings, class_residual=w)) for w in (0.0, 5.0))
        assert torch.equal(one, other)


def test_self_adjusted_attention_is_half_similarity_half_keys(tower):
    generator = torch.Generator().manual_seed(3)
    first, second, middle = torch.randn(3, 2, 9, tower.width, generator=generator, dtype=torch.float64)
    unit = unit_tokens(middle + 0.5)
    both = self_adjusted_attention(tower.last_block, [first, second], unit, ScClipSettings())
    for tokens, adjusted in zip((first, second), both, strict=True):
        for index in range(2):  # the mean is the image's own, not the batch's
            similarity = naive_cosines(middle[index] + 0.5)
            expected = naive_adjusted_attention(tower.last_block, tokens[index], similarity, 3.0)
            torch.testing.assert_close(adjusted[index], expected, **TOLERANCE)


def test_similarity_attention_of_a_hand_computed_case():
    """Mean of S is 0.5; row 0 keeps itself and patch 1, row 2 itself alone; g = 3·(S − 0.5)."""
    similarity = torch.tensor([[[1.0, 0.6, 0.1], [0.6, 1.0, 0.05], [0.1, 0.05, 1.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0.7685248, 0.2314752, 0.0], [0.2314752, 0.7685248, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    mean = similarity.mean(dim=(1, 2))
    assert float(mean) == pytest.approx(0.5)
    torch.testing.assert_close(similarity_attention(similarity, mean, 3.0), expected, rtol=0, atol=1e-7)
    # A mean that rounding has put above every entry must not leave a row empty.
    torch.testing.assert_close(
        similarity_attention(torch.ones(1, 2, 2), torch.tensor([1.0 + 1e-6]), 3.0), torch.full((1, 2, 2), 0.5)
    )


def test_rows_of_similarity_attention_add_to_one_and_the_mean_needs_no_matrix():
    tokens = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    similarity = similarity_map(tokens)
    mean = mean_similarity(unit_tokens(tokens))
    torch.testing.assert_close(mean, similarity.mean(dim=(1, 2)))
    torch.testing.assert_close(similarity_attention(similarity, mean, 3.0).sum(-1), torch.ones(3, 20, dtype=torch.float64))


@pytest.mark.parametrize("detector", ["lof", "lof_fast"])
def test_rows_in_blocks_give_what_all_rows_give(tower, monkeypatch, detector):
    images = images_of(2, 6, 8)
    settings = ScClipSettings(detector=detector)
    whole = dense_tokens(tower, images, settings)
    monkeypatch.setattr(aggregation, "_CPU_ELEMENTS", 7 * 2 * 48)
    blocks = list(aggregation.row_blocks(torch.zeros(2, 48, 3)))
    assert [(rows.start, rows.stop) for rows in blocks] == [(i, min(i + 7, 48)) for i in range(0, 48, 7)]
    torch.testing.assert_close(dense_tokens(tower, images, settings), whole, **TOLERANCE)


def test_a_uniform_image_has_uniform_tokens():
    """All patches alike: S is constant, nothing is flagged, and every step returns the constant field it was given."""
    tower = TinyTower()
    constant = torch.randn(1, 1, tower.width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    passed = TokenPass(tuple((constant + index).expand(2, 21, -1).clone() for index in range(6)), 4, 5)
    out = dense_tokens_from_pass(tower, passed, ScClipSettings())
    torch.testing.assert_close(out, out[:1, :1, :1].expand_as(out), rtol=1e-7, atol=1e-7)
    x = passed.hidden[-1][:1, :1]
    block = tower.last_block
    levels = sum(passed.hidden[index][:1, :1] for index in (2, 3, 4))
    expected = block.out(block.value(block.norm1(x))) + 0.3 * x + block.out(block.value(block.norm1(levels))) + 0.3 * levels
    torch.testing.assert_close(out[0, 0, 0], tower.head(expected)[0, 0], rtol=1e-5, atol=1e-5)  # 1e-6 in the row sums


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"neighbours": 0}, "neighbours: expected 1 or more, got 0"),
        ({"contamination": 1.0}, "contamination: expected a share between 0 and 1, got 1.0"),
        ({"pre": 1.0}, r"pre: expected a fraction in \[0, 1\), got 1.0"),
        ({"multi_end": 0.3}, "multi_end: expected a fraction above multi_start"),
        ({"beta": 1.0}, r"beta: expected a cosine in \[0, 1\)"),
        ({"output_beta": -0.1}, "output_beta"),
        ({"gain": -1.0}, "gain"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ConventionError, match=message):
        ScClipSettings(**wrong)


def test_a_window_has_a_width():
    with pytest.raises(ConventionError, match="sigma"):
        NaclipSettings(sigma=0.0)

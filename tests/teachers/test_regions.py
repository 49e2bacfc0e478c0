"""Regions of images: superpixels on pictures with known answers, and SAM on tiny random models loaded like real ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.teachers.regions.choose import open_region_source
from scenewise.teachers.regions.felzenszwalb import FelzenszwalbRegions, FelzenszwalbSettings
from scenewise.teachers.regions.grids import connected_regions, lab_from_srgb, without_small_regions
from scenewise.teachers.regions.painting import mask_boxes, paint_masks, painting_order, suppress_boxes
from scenewise.teachers.regions.sam import SamRegions, SamSettings, load_sam, stability_scores
from scenewise.teachers.regions.slic import SlicRegions, SlicSettings
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.rooms import furnished_room


def purity(ids, instances):
    """Share of pixels that belong to the most frequent instance of their region."""
    pairs, counts = np.unique(np.stack([ids.ravel(), instances.ravel()]), axis=1, return_counts=True)
    best = np.zeros(ids.max() + 1, dtype=np.int64)
    np.maximum.at(best, pairs[0], counts)
    return best.sum() / ids.size


@pytest.fixture(scope="module")
def room_view():
    """A picture of a furnished room and the instance of each pixel."""
    room = furnished_room(3)
    camera = room_cameras(room, 4, 160, 120)[1]
    return photograph(room, camera), truth(room, camera).instance_ids


# --- pixels ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # from the definition with the white point D65
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((0.02, 0.02, 0.02), (1.398, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    assert lab_from_srgb(np.array(rgb)) == pytest.approx(np.array(lab), abs=0.02)


def test_connected_regions_touch_by_edges_and_count_from_the_top_left():
    labels = np.array([[5, 5, 2], [2, 5, 2], [5, 2, 2]])
    assert connected_regions(labels).tolist() == [[0, 0, 1], [2, 0, 1], [3, 1, 1]]


def test_a_small_region_joins_the_longest_border():
    labels = np.zeros((6, 8), dtype=np.int64)
    labels[:, 4:] = 1
    labels[2:4, 3:5] = labels[3, 5] = 2  # five pixels: four borders with the left half, six with the right
    assert np.array_equal(without_small_regions(labels, 5.0), connected_regions(labels))
    joined = without_small_regions(labels, 6.0)
    assert joined.max() == 1 and joined[2, 3] == joined[0, 7]
    assert without_small_regions(labels, 1000.0).max() == 0


# --- SLIC --------------------------------------------------------------------------------------------------------------------


def test_slic_of_a_constant_image_is_the_regular_grid():
    found = SlicRegions(SlicSettings(segments=12)).regions(np.full((30, 40, 3), 77, np.uint8))
    assert np.array_equal(found.ids, (np.arange(30) // 10)[:, None] * 4 + np.arange(40) // 10)


def test_slic_keeps_to_a_sharp_border_that_cuts_cells_unevenly():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 27:] = [200, 180, 40]
    found = SlicRegions(SlicSettings(segments=12, sigma=0.0)).regions(image)
    assert not set(np.unique(found.ids[:, :27])) & set(np.unique(found.ids[:, 27:]))


def test_slic_covers_a_photograph_with_connected_regions(room_view):
    image, instances = room_view
    found = SlicRegions().regions(image)
    assert found.ids.min() == 0 and 100 <= found.count <= 200 and found.sizes.min() >= 0.25 * 160 * 120 / 150 - 1
    assert connected_regions(found.ids.astype(np.int64)).max() + 1 == found.count
    assert purity(found.ids, instances) > 0.93
    blocks = (np.arange(120) // 11)[:, None] * 15 + np.arange(160) // 11
    assert purity(found.ids, instances) > purity(blocks, instances) + 0.02  # better than squares of the same size
    assert np.array_equal(found.ids, SlicRegions().regions(image.copy()).ids)


@given(seed=st.integers(0, 999), height=st.integers(1, 30), width=st.integers(1, 30), segments=st.integers(1, 60))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_slic_of_noise_of_any_size(seed, height, width, segments):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = SlicRegions(SlicSettings(segments=segments, sigma=0.0)).regions(image)
    assert found.ids.shape == (height, width) and found.ids.min() == 0
    assert connected_regions(found.ids.astype(np.int64)).max() + 1 == found.count


def test_more_compact_regions_are_squarer(room_view):
    def border(compactness):
        ids = SlicRegions(SlicSettings(compactness=compactness)).regions(room_view[0]).ids
        return (ids[:, 1:] != ids[:, :-1]).sum() + (ids[1:] != ids[:-1]).sum()

    assert border(60.0) < 0.9 * border(5.0)


# --- Felzenszwalb ------------------------------------------------------------------------------------------------------------


def test_two_colours_are_two_regions_and_touch_by_corners():
    # Distance of the colours 50: k = 100 keeps them apart once each side has more than two pixels, k = 10⁶ does not.
    image = np.full((8, 10, 3), 100, np.uint8)
    image[:4, :5] = image[4:, 5:] = [130, 140, 100]
    fine = FelzenszwalbRegions(FelzenszwalbSettings(k=100.0, sigma=0.0, min_size=0)).regions(image)
    expected = (np.arange(8) >= 4)[:, None] ^ (np.arange(10) >= 5)
    assert np.array_equal(fine.ids, expected)
    assert FelzenszwalbRegions(FelzenszwalbSettings(k=1e6, sigma=0.0)).regions(image).count == 1
    # 20 pixels a quarter: the two quarters of a colour are one region of 40 by their corner, which passes a minimum of 40.
    assert FelzenszwalbRegions(FelzenszwalbSettings(k=100.0, sigma=0.0, min_size=40)).regions(image).count == 2
    assert FelzenszwalbRegions(FelzenszwalbSettings(k=100.0, sigma=0.0, min_size=41)).regions(image).count == 1


def test_felzenszwalb_of_a_photograph(room_view):
    image, instances = room_view
    found = FelzenszwalbRegions(FelzenszwalbSettings(min_size=30)).regions(image)
    assert found.sizes.min() >= 30 and 20 < found.count < 300 and purity(found.ids, instances) > 0.85
    assert found.ids.shape == (120, 160) and found.ids[0, 0] == 0


# --- masks -------------------------------------------------------------------------------------------------------------------


def test_small_masks_win_and_holes_stay():
    large, small, tiny = (np.zeros((4, 5), bool) for _ in range(3))
    large[:3, :4], small[1:4, 1:3], tiny[1, 1] = True, True, True
    masks = [small, tiny, large]
    areas = np.array([mask.sum() for mask in masks])
    order = painting_order(areas, np.array([0.9, 0.9, 0.99], np.float32))
    assert order.tolist() == [2, 0, 1]
    ids = paint_masks([masks[i] for i in order], 4, 5)
    assert ids.tolist() == [[0, 0, 0, 0, -1], [0, 2, 1, 0, -1], [0, 1, 1, 0, -1], [-1, 1, 1, -1, -1]]
    assert paint_masks([masks[i] for i in order], 4, 5, min_area=2)[1, 1] == 1
    assert painting_order(np.array([7, 7]), np.array([0.9, 0.8], np.float32)).tolist() == [1, 0]  # the better one on top


def test_boxes_hold_the_outermost_pixels():
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    assert mask_boxes(masks).tolist() == [[2, 1, 5, 2], [0, 0, 0, 0]]


def test_suppression_keeps_the_best_of_overlapping_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 6], [20, 0, 30, 10], [0, 0, 10, 10]])
    # IoU of 1 with 0 is 0.9, of 2 with 0 is 0.6, of 2 with 1 is 0.67; 4 equals 0 and has its score.
    assert suppress_boxes(boxes, torch.tensor([0.8, 0.9, 0.7, 0.1, 0.8]), 0.7).tolist() == [1, 2, 3]
    assert suppress_boxes(boxes, torch.tensor([0.8, 0.5, 0.7, 0.1, 0.8]), 0.65).tolist() == [0, 2, 3]
    assert suppress_boxes(boxes[:0], torch.empty(0), 0.7).tolist() == []


def test_stability_is_the_share_of_the_wide_mask_that_the_narrow_one_fills():
    logits = torch.full((2, 3, 4), -5.0)
    logits[0, 0] = torch.tensor([3.0, 1.5, 0.5, -0.5])  # two above +1, four above −1; three above 0
    assert stability_scores(logits, 1.0)[0] == 0.5
    assert stability_scores(logits, 2.0)[0] == 0.25
    assert not bool(stability_scores(logits, 1.0)[1] > 0)  # nowhere: passes no threshold


# --- SAM ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    """A random SAM of 64 pixels and 16 features in Hugging Face layout."""
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 24,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "window_size": 3,
            "global_attn_indexes": [1],
            "mlp_dim": 32,
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    torch.manual_seed(0)
    model = SamModel(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # logits of a few units that differ from place to place
            spread = 0.7 if "hypernetworks" in name or "upscale" in name else 0.15
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
        model.mask_decoder.iou_prediction_head.proj_out.bias += 1.0  # thresholds at 0 and below count as none elsewhere
    folder = tmp_path_factory.mktemp("sam")
    model.save_pretrained(folder)
    return folder


LENIENT = SamSettings(
    points_per_side=4, points_per_batch=5, min_predicted_iou=-100.0, min_stability=0.0, max_box_iou=1.1, min_area=4
)


def _image(height=36, width=50, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3)).repeat(6, 0).repeat(6, 1)
    return image[:height, :width].astype(np.uint8)


@pytest.fixture(scope="module")
def sam(sam_folder):
    return load_sam(str(sam_folder), settings=LENIENT)


@pytest.mark.parametrize("size", [(36, 50), (64, 64), (131, 47)])
def test_sam_takes_and_gives_what_the_published_processor_does(sam, size):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    processor = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    image = _image(*size)
    theirs = processor(image, return_tensors="pt")
    torch.testing.assert_close(sam.pixel_values(image), theirs["pixel_values"], rtol=0, atol=2e-6)
    logits = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    upscaled = processor.post_process_masks(
        [logits[None]], theirs["original_sizes"], theirs["reshaped_input_sizes"], binarize=False, pad_size=None
    )
    torch.testing.assert_close(sam.upscaled(logits, *size), upscaled[0][0])


def test_sam_proposes_the_masks_of_the_published_filters(sam_folder):
    """Prompts, decoder, thresholds, boxes: the same masks as transformers' generator keeps before its box suppression."""
    from transformers import SamModel
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    processor = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    model = SamModel.from_pretrained(sam_folder).eval()
    image = _image()
    theirs = processor(image, return_tensors="pt")
    _, points, _, labels = processor.generate_crop_boxes(image, 64, points_per_crop=4)
    with torch.no_grad():
        answer = model(pixel_values=theirs["pixel_values"], input_points=points.float(), input_labels=labels)
    full = processor.post_process_masks(
        answer.pred_masks, theirs["original_sizes"], theirs["reshaped_input_sizes"], binarize=False, pad_size=None
    )
    iou = float(answer.iou_scores.median())
    want, want_scores, want_boxes = processor.filter_masks(
        full[0], answer.iou_scores[0], (36, 50), [0, 0, 50, 36], pred_iou_thresh=iou, stability_score_thresh=0.1
    )
    filters = SamSettings(points_per_side=4, points_per_batch=5, min_predicted_iou=iou, min_stability=0.1, max_box_iou=1.1)
    got = load_sam(str(sam_folder), settings=filters).masks(image)
    assert 2 <= len(got) == len(want) < 48
    ours = np.argsort(want_scores.numpy(), kind="stable")[::-1]
    assert got.scores == pytest.approx(np.sort(want_scores.numpy())[::-1], abs=1e-5)
    for index, other in enumerate(ours):
        mask, counts = got.mask(index), want[other]["counts"]
        run_lengths = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(50, 36).T
        assert np.array_equal(mask, run_lengths) and got.areas[index] == mask.sum()
        assert np.array_equal(got.boxes[index], want_boxes[other].numpy())


def test_sam_regions_are_painted_by_area_and_the_same_every_time(sam):
    image = _image()
    found, proposals = sam.regions(image), sam.masks(image)
    assert found.ids.shape == (36, 50) and found.count > 1 and found.source == "sam"
    covered = np.zeros((36, 50), bool)
    for index in range(len(proposals)):
        if proposals.areas[index] >= 4:
            covered |= proposals.mask(index)
    assert np.array_equal(found.ids >= 0, covered)
    smallest = min((proposals.areas[i], i) for i in range(len(proposals)) if proposals.areas[i] >= 4)[1]
    assert len(np.unique(found.ids[proposals.mask(smallest)])) == 1
    assert np.array_equal(found.ids, sam.regions(image.copy()).ids)


def test_sam_without_a_mask_that_passes_has_no_regions(sam_folder):
    strict = load_sam(str(sam_folder), settings=SamSettings(points_per_side=2, min_predicted_iou=1e9))
    found = strict.regions(_image())
    assert found.count == 0 and (found.ids == -1).all()


def test_batches_of_points_change_nothing(sam_folder):
    few, many = (
        load_sam(
            str(sam_folder),
            settings=SamSettings(points_per_side=4, points_per_batch=n, min_predicted_iou=-9.0, min_stability=0.0),
        )
        for n in (3, 16)
    )
    assert few.fingerprint == many.fingerprint
    assert np.array_equal(few.regions(_image()).ids, many.regions(_image()).ids)


def test_features_of_sam_cover_the_image_without_its_padding(sam):
    image = _image(48, 64)
    field = sam.image_features(image)
    assert field.values.shape == (6, 8, 16) and (field.height, field.width) == (48, 64)
    whole = sam._model.get_image_embeddings(sam.pixel_values(image))[0]
    assert np.array_equal(field.values, whole[:, :6, :8].permute(1, 2, 0).numpy())


def test_features_of_an_image_that_ends_inside_a_cell_are_read_between_cells(sam):
    image = _image(44, 64)  # 5.5 rows of cells; the fitting grid has six, whose centres are 11/12 of a cell apart
    field = sam.image_features(image)
    assert field.values.shape == (6, 8, 16)
    whole = sam._model.get_image_embeddings(sam.pixel_values(image))[0].permute(1, 2, 0).numpy()
    # The first row's centre lies at 5.5/12 of a cell, before the centre of the first cell: the border is held.
    assert field.values[0] == pytest.approx(whole[0, :8], abs=1e-5)
    third = 2.5 * 11 / 12 - 0.5  # in cell indices: 1.7917
    assert field.values[2] == pytest.approx((2 - third) * whole[1, :8] + (third - 1) * whole[2, :8], abs=1e-5)


def test_the_fingerprint_follows_weights_and_settings(sam, sam_folder, tmp_path):
    from transformers import SamModel

    model = SamModel.from_pretrained(sam_folder)
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    model.save_pretrained(tmp_path)
    prints = {
        sam.fingerprint,
        load_sam(str(sam_folder)).fingerprint,
        load_sam(str(tmp_path), settings=LENIENT).fingerprint,
        SlicRegions().fingerprint,
        SlicRegions(SlicSettings(segments=99)).fingerprint,
        FelzenszwalbRegions().fingerprint,
        FelzenszwalbRegions(FelzenszwalbSettings(k=5.0)).fingerprint,
    }
    assert len(prints) == 7
    assert load_sam(str(sam_folder), settings=LENIENT).fingerprint == sam.fingerprint


# --- choosing and errors -----------------------------------------------------------------------------------------------------


def test_sources_are_opened_by_name(sam_folder):
    assert isinstance(open_region_source("slic"), SlicRegions)
    assert isinstance(open_region_source("felzenszwalb"), FelzenszwalbRegions)
    opened = open_region_source(f"sam:{sam_folder}")
    assert isinstance(opened, SamRegions) and opened.name == f"sam:{sam_folder}"


@pytest.mark.parametrize("name", ["", "sam:", "Slic", "small-clip"])
def test_an_unknown_source_is_named(name):
    with pytest.raises(ConventionError, match='"slic", "felzenszwalb" or "sam:"'):
        open_region_source(name)


def test_an_unreachable_sam_is_one_clear_error_that_names_what_needs_no_network():
    with pytest.raises(ResourceError, match=r"nobody/no-sam.*within reach.*\"slic\" or \"felzenszwalb\""):
        open_region_source("sam:nobody/no-sam", local_files_only=True)


def test_a_folder_with_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(DataFormatError, match=r"model_type.*'sam'.*got 'clip'"):
        load_sam(str(tmp_path))


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("vision_config", "hidden_size", 4000, "24"),
        ("vision_config", "num_hidden_layers", 10**9, "num_hidden_layers"),
        ("vision_config", "image_size", 10**9, "image_size"),
        ("mask_decoder_config", "num_hidden_layers", 10**9, "num_hidden_layers"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights_is_refused_before_anything_is_made(
    sam_folder, tmp_path, section, key, value, message
):
    import json
    import shutil

    shutil.copytree(sam_folder, tmp_path / "sam")
    config = json.loads((sam_folder / "config.json").read_text())
    config[section][key] = value
    (tmp_path / "sam" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataFormatError, match=message):
        load_sam(str(tmp_path / "sam"))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SlicSettings(segments=0), "at least 1"),
        (lambda: SlicSettings(compactness=0.0), "positive"),
        (lambda: FelzenszwalbSettings(k=-1.0), "0 or more"),
        (lambda: SamSettings(points_per_side=148), "1 to 147"),
    ],
)
def test_settings_out_of_range_are_named(call, message):
    with pytest.raises(ConventionError, match=message):
        call()

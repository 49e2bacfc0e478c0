"""Where labels come from: by hand on tiny pictures, against loops on random ones."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from tests.support.fabricated_step import GRID, HEIGHT, WIDTH, made_batch, made_context, made_outputs, unit_text
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.parts.labelfree.batches import TrainingBatch
from scenewise.parts.labelfree.label_sources import (
    Fixed,
    Switch,
    cross_entropy,
    largest_class_share,
    mode_of_groups,
    pixel_logits,
    predicted_classes,
    student_logits,
)
from scenewise.parts.labelfree.steps import LossContext, StudentOutput
from scenewise.parts.labelfree.supervision import Supervision

SELF_ONLY, CROSS_ONLY = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
CLASSES = 5


def mode(said: list[int]) -> int:
    """The most frequent class, ties to the lowest."""
    count = Counter(said)
    return max(count, key=lambda c: (count[c], -c))


def as_dict(rows: Supervision) -> dict[int, int]:
    assert len(rows.element.unique()) == len(rows)
    return dict(zip(rows.element.tolist(), rows.class_ids.tolist()))


def pixel(batch: TrainingBatch, k: int) -> int:
    links = batch.links
    return int((links.view[k] * HEIGHT + links.row[k]) * WIDTH + links.column[k])


class TestPixelLogits:
    def test_bilinear_between_centres_of_cells_by_hand(self):
        """One view, 1 × 2 cells, pictures of 2 × 4 pixels: the centres of cells lie between pixels 0|1 and 2|3."""
        text = torch.eye(2)
        output = StudentOutput(torch.tensor([[0.0, 8.0], [4.0, 0.0]]), torch.zeros(2, 1), (1, 1, 2))
        logits = pixel_logits(output, text, 2, 4)
        assert logits[0, 0].tolist() == [[0.0, 1.0, 3.0, 4.0]] * 2
        assert logits[0, 1].tolist() == [[8.0, 6.0, 2.0, 0.0]] * 2

    def test_logits_of_interpolated_embeddings(self):
        batch = made_batch()
        output, text = made_outputs(batch)["pixels"], unit_text()
        coarse = output.embeddings.unflatten(0, output.grid).movedim(-1, 1)
        fine = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        expected = torch.einsum("vdhw,cd->vchw", fine, text)
        torch.testing.assert_close(pixel_logits(output, text, HEIGHT, WIDTH), expected)

    def test_rows_of_pixels_are_those_of_pictures(self):
        context = made_context()
        fine = pixel_logits(context.outputs["pixels"], context.text, HEIGHT, WIDTH)
        flat = student_logits(context, "pixels")
        assert torch.equal(flat[(3 * HEIGHT + 7) * WIDTH + 5], fine[3, :, 7, 5])


class TestModes:
    @pytest.mark.parametrize("groups", [9, 50_000])  # counted, and sorted
    def test_against_loops(self, groups: int):
        g = torch.Generator().manual_seed(0)
        group = torch.randint(-1, min(groups, 40), (90,), generator=g)
        said = torch.randint(-1, CLASSES, (90,), generator=g)
        winner = mode_of_groups(group, said, groups, CLASSES)
        for k in range(min(groups, 60)):
            votes = [int(c) for c in said[group == k] if c >= 0]
            assert int(winner[k]) == (mode(votes) if votes else -1)

    def test_ties_go_to_the_lowest_class_either_way(self):
        group, said = torch.tensor([0, 0, 0, 0, 2]), torch.tensor([3, 1, 1, 3, 4])
        for groups in (3, 100_000):
            assert mode_of_groups(group, said, groups, CLASSES)[:3].tolist() == [1, -1, 4]


class TestFixed:
    def test_rows_of_points_and_all_labelled_pixels(self):
        context = made_context()
        points, counts = Fixed()(context, "points")
        assert points is context.batch.points and counts.tolist() == [len(points), 0, 0]
        pixels, _ = Fixed()(context, "pixels")
        labels = context.batch.pictures.labels.flatten()
        assert torch.equal(pixels.class_ids, labels[labels >= 0]) and torch.equal(labels[pixels.element], pixels.class_ids)


class TestPoints:
    def test_self_is_the_argmax_everywhere_or_on_the_labelled_rows(self):
        context = made_context()
        own = context.outputs["points"].logits(context.text).argmax(dim=1)
        rows, counts = Switch(SELF_ONLY)(context, "points")
        assert torch.equal(rows.element, torch.arange(105)) and torch.equal(rows.class_ids, own)
        assert counts.tolist() == [0, 105, 0]
        labelled, _ = Switch(SELF_ONLY, everywhere=False)(made_context(), "points")
        assert torch.equal(labelled.element, context.batch.points.element)
        assert torch.equal(labelled.class_ids, own[labelled.element])

    @pytest.mark.parametrize("pool", ["none", "regions", "segments"])
    @pytest.mark.parametrize("source", [SELF_ONLY, CROSS_ONLY])
    def test_against_loops(self, pool: str, source: tuple[float, float, float]):
        context = made_context()
        batch = context.batch
        of_points = predicted_classes(context, "points").tolist()
        of_pixels = predicted_classes(context, "pixels").tolist()
        regions = batch.pictures.regions.flatten().tolist()
        size = Counter(regions)
        regions = [region if size[region] >= 20 else -1 for region in regions]
        members: dict[int, list[int]] = {}
        links = range(len(batch.links.point))
        if pool == "regions" and source == SELF_ONLY:
            for k in links:
                members.setdefault(regions[pixel(batch, k)], []).append(of_points[int(batch.links.point[k])])
        elif pool == "regions":
            for p, region in enumerate(regions):
                members.setdefault(region, []).append(of_pixels[p])
        if source == SELF_ONLY:
            seen: dict[int, list[int]] = {}
            for k in links:
                region, point = regions[pixel(batch, k)], int(batch.links.point[k])
                seen.setdefault(point, []).append(
                    mode(members[region]) if pool == "regions" and region >= 0 else of_points[point]
                )
            expected = {point: mode(seen[point]) if point in seen else own for point, own in enumerate(of_points)}
        else:
            seen = {}
            for k in links:
                region = regions[pixel(batch, k)]
                said = mode(members[region]) if pool == "regions" and region >= 0 else of_pixels[pixel(batch, k)]
                seen.setdefault(int(batch.links.point[k]), []).append(said)
            expected = {point: mode(said) for point, said in seen.items()}
        if pool == "segments":
            sets: dict[int, list[int]] = {}
            for point, said in expected.items():
                sets.setdefault(int(batch.segments[point]), []).append(said)
            for point, segment in enumerate(batch.segments.tolist()):
                if segment >= 0 and segment in sets:
                    expected[point] = mode(sets[segment])
        rows, _ = Switch(source, pool_points=pool, min_region=20)(context, "points")
        assert as_dict(rows) == expected

    def test_points_no_picture_shows_have_no_cross_label(self):
        rows, _ = Switch(CROSS_ONLY)(made_context(), "points")
        context = made_context()
        assert set(rows.element.tolist()) == set(context.batch.links.point.tolist())
        assert 104 not in rows.element and 59 not in rows.element


class TestPixels:
    def test_self_in_regions(self):
        context = made_context()
        said = predicted_classes(context, "pixels").view(4, HEIGHT, WIDTH)
        rows, counts = Switch(SELF_ONLY, pool_pixels=True, min_region=20)(context, "pixels")
        voted = torch.full((4 * HEIGHT * WIDTH,), -1)
        voted[rows.element] = rows.class_ids
        voted = voted.view_as(said)
        regions = context.batch.pictures.regions
        for region in range(int(regions.max()) + 1):
            inside = regions == region
            if inside.sum() >= 20:
                assert (voted[inside] == mode(said[inside].tolist())).all()
        holes = regions < 0
        assert torch.equal(voted[holes], said[holes]) and counts.tolist() == [0, voted.numel(), 0]

    def test_cross_along_the_links_fills_regions(self):
        context = made_context()
        batch = context.batch
        of_points = predicted_classes(context, "points")
        at: dict[int, list[int]] = {}
        for k in range(len(batch.links.point)):
            at.setdefault(pixel(batch, k), []).append(int(of_points[batch.links.point[k]]))
        expected = {where: mode(said) for where, said in at.items()}
        bare, counts = Switch(CROSS_ONLY)(context, "pixels")
        assert as_dict(bare) == expected and counts.tolist() == [0, 0, len(expected)]
        regions = batch.pictures.regions.flatten()
        sets: dict[int, list[int]] = {}
        for where, said in expected.items():
            sets.setdefault(int(regions[where]), []).append(said)
        for where, region in enumerate(regions.tolist()):
            if region >= 0 and region in sets:
                expected[where] = mode(sets[region])
        filled, _ = Switch(CROSS_ONLY, pool_pixels=True, min_region=1)(made_context(), "pixels")
        assert as_dict(filled) == expected and len(filled) > 3 * len(bare)

    def test_small_regions_do_not_vote(self):
        context = made_context()
        rows, _ = Switch(SELF_ONLY, pool_pixels=True, min_region=10_000)(context, "pixels")
        assert torch.equal(rows.class_ids, predicted_classes(context, "pixels"))


class TestSwitching:
    @pytest.mark.parametrize("granularity", ["scene", "element"])
    @pytest.mark.parametrize("modality", ["points", "pixels"])
    def test_every_row_is_that_of_its_source(self, granularity: str, modality: str):
        """Views of the batch in an order that mixes the scans."""
        batch = made_batch()
        batch = replace(batch, pictures=replace(batch.pictures, scan=torch.tensor([1, 0, 1, 0])))
        switch = Switch((0.4, 0.3, 0.3), granularity=granularity)
        for seed in range(4):
            source = switch._drawn(made_context(batch, seed=seed), modality)
            context = made_context(batch, seed=seed)
            rows, counts = switch(context, modality)
            every = [as_dict(switch._rows(context, modality, index)) for index in range(3)]
            expected = {e: every[s][e] for e, s in enumerate(source.tolist()) if e in every[s]}
            assert as_dict(rows) == expected and int(counts.sum()) == len(expected)
            if modality == "pixels" and granularity == "scene":
                by_view = source.view(4, -1)
                assert torch.equal(by_view[0], by_view[2]) and torch.equal(by_view[1], by_view[3])

    @pytest.mark.parametrize("granularity", ["scene", "element"])
    def test_a_scan_draws_the_same_on_any_rank(self, granularity: str):
        batch = made_batch()
        switch = Switch((0.4, 0.3, 0.3), granularity=granularity)
        both = switch._drawn(made_context(batch), "points")
        alone = made_batch(counts=(45,), scans=(11,))
        assert torch.equal(switch._drawn(made_context(alone), "points"), both[60:])

    def test_collapse_is_logged_by_source(self):
        context = made_context()
        rows, _ = Switch(SELF_ONLY)(context, "points")
        share = max(Counter(rows.class_ids.tolist()).values()) / len(rows)
        assert context.figures == {"self/points/largest_class": pytest.approx(share)}
        nothing = Supervision(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
        assert largest_class_share(nothing, 3) == 0.0

    @pytest.mark.parametrize("modality", ["points", "pixels"])
    def test_predictions_take_no_gradient_from_the_loss(self, modality: str):
        """The argmax is asked for first; the loss that shares its logits still reaches the student."""
        context = made_context()
        rows, _ = Switch(SELF_ONLY)(context, modality)
        context.supervision = {modality: rows}
        cross_entropy(context, modality).total.backward()
        gradient = context.outputs[modality].latent.grad
        assert gradient is not None and (gradient.abs().sum(dim=1) > 0).all()

    def test_what_a_step_lacks_is_said(self):
        batch = made_batch()
        only_points = {"points": made_outputs(batch)["points"]}
        with pytest.raises(ConventionError, match="a student of pixels, got only points"):
            Switch(CROSS_ONLY)(made_context(batch, outputs=only_points), "points")
        without = replace(batch, pictures=replace(batch.pictures, regions=None))
        with pytest.raises(ConventionError, match="pictures with regions"):
            Switch(SELF_ONLY, pool_pixels=True)(made_context(without), "pixels")
        with pytest.raises(ConventionError, match="expected pictures"):
            Fixed()(made_context(replace(batch, pictures=None, links=None), outputs=only_points), "pixels")
        with pytest.raises(ConventionError, match="three shares that sum to 1"):
            Switch((0.5, 0.2, 0.2))


class TestCrossEntropy:
    def reference(self, context: LossContext, logits: Tensor, rows: Supervision) -> Tensor:
        return -logits.log_softmax(dim=1)[rows.element, rows.class_ids].sum()

    def test_pixels_against_every_pixel_by_itself(self):
        context = made_context()
        rows, _ = Fixed()(context, "pixels")
        context.supervision = {"pixels": rows}
        term = cross_entropy(context, "pixels", scale=3.0)
        fine = 3.0 * pixel_logits(context.outputs["pixels"], context.text, HEIGHT, WIDTH)
        whole = nn.functional.cross_entropy(fine, context.batch.pictures.labels, ignore_index=-1, reduction="sum")
        torch.testing.assert_close(term.total, whole)
        assert term.rows == int((context.batch.pictures.labels >= 0).sum()) > GRID[0]

    def test_an_element_may_occur_in_several_rows(self):
        context = made_context()
        rows = Supervision(torch.tensor([3, 3, 9]), torch.tensor([1, 2, 2]))
        context.supervision = {"points": rows}
        logits = context.outputs["points"].logits(context.text)
        term = cross_entropy(context, "points")
        torch.testing.assert_close(term.total, self.reference(context, logits, rows))
        assert term.rows == 3 and term.extra["accuracy"] in (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3))

    def test_no_rows_make_no_loss(self):
        context = made_context()
        nothing = torch.zeros(0, dtype=torch.int64)
        context.supervision = {"points": Supervision(nothing, nothing)}
        term = cross_entropy(context, "points")
        term.total.backward()
        assert float(term.total.detach()) == 0.0 and term.rows == 0 and term.extra == {}

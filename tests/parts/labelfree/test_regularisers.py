"""Losses beside cross entropy: by hand, against loops, and what may and may not learn from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.fabricated_step import GRID, HEIGHT, WIDTH, made_batch, made_context, made_outputs, unit_text
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.parts.labelfree.batches import PixelLinks, TrainingBatch
from scenewise.parts.labelfree.regularisers import (
    Correlation,
    CorrelationSettings,
    FeatureMatch,
    FeedbackKL,
    GridConsistency,
    build_correlation,
)
from scenewise.parts.labelfree.regularisers.correlation import point_classes
from scenewise.parts.labelfree.regularisers.grid_consistency import fused_agreement
from scenewise.parts.labelfree.regularisers.matching import at_pixels, cosine_of_rows
from scenewise.parts.labelfree.steps import Regulariser, StudentOutput
from scenewise.parts.labelfree.supervision import Supervision
from scenewise.parts.lifting import sample_field
from scenewise.scenes.dense_fields import DenseField


def small(**options) -> Correlation:
    torch.manual_seed(0)
    made = build_correlation(8, CorrelationSettings(tokens_per_scan=20, layers=1, heads=2, **options))
    with torch.no_grad():
        for module in made.modules.values():
            for parameter in module.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return made


def test_all_are_regularisers_with_names_of_their_own():
    correlation = small()
    made: list[Regulariser] = [
        correlation,
        FeedbackKL(correlation),
        FeatureMatch("points", 5, 6),
        FeatureMatch("pixels", 5, 6),
        GridConsistency(5, 8),
    ]
    assert [loss.name for loss in made] == ["correlation", "feedback", "match_points", "match_pixels", "grid"]
    assert [sorted(loss.modules) for loss in made] == [["batch", "scene"], [], ["projection"], ["projection"], ["local"]]
    for loss in made:
        term = loss(made_context())
        term.total.backward()
        assert term.rows > 0 and torch.isfinite(term.total)
        assert all(p.grad is not None for m in loss.modules.values() for p in m.parameters())


class TestCorrelation:
    def test_levels_act_in_sequence_and_the_last_is_told_the_labels(self):
        context, made = made_context(), small()
        tokens = made.tokens(context)
        scene = made.modules["scene"](tokens.before, tokens.points.scan, across=False)
        batch = made.modules["batch"](scene, tokens.points.scan, across=True)
        torch.testing.assert_close(tokens.levels, (scene, batch))
        losses = [nn.functional.cross_entropy(f @ context.text.T, tokens.class_ids, reduction="sum") for f in (scene, batch)]
        torch.testing.assert_close(made(context).total, losses[1])
        deep = small(deep_supervision=True)
        torch.testing.assert_close(deep(made_context()).total, (losses[0] + losses[1]) / 2)

    def test_tokens_are_labelled_points_and_shared_within_a_step(self):
        context, made = made_context(), small()
        tokens = made.tokens(context)
        assert made.tokens(context) is tokens and len(tokens.points) == 40
        labels = dict(zip(context.batch.points.element.tolist(), context.batch.points.class_ids.tolist()))
        assert [labels[row] for row in tokens.points.rows.tolist()] == tokens.class_ids.tolist()
        torch.testing.assert_close(tokens.before, context.outputs["points"].embeddings[tokens.points.rows])

    @pytest.mark.parametrize("detach", [False, True])
    def test_gradient_into_the_network(self, detach: bool):
        context = made_context()
        made = small(detach=detach)
        made(context).total.backward()
        gradient = context.outputs["points"].latent.grad
        assert (gradient is None) if detach else int((gradient.abs().sum(dim=1) > 0).sum()) == 40

    @pytest.mark.parametrize("positions", [False, True])
    def test_two_ranks_with_a_scan_each_are_one_with_both(self, positions: bool):
        """Losses and gradients add up, although every rank asks for its own rows alone."""
        options = {"position_code": "xyz_fourier", "metres_per_voxel": 0.5} if positions else {}
        whole = made_context(made_batch())
        made = small(**options)
        total = made(whole).total
        total.backward()
        expected = {name: p.grad.clone() for m in made.modules.values() for name, p in m.named_parameters(prefix=str(id(m)))}
        made_of_scan = [self.only(whole.batch, number) for number in (0, 1)]
        latent = whole.outputs["points"].latent.detach().clone().requires_grad_()
        contexts = []
        for batch, (begin, end) in zip(made_of_scan, ((0, 60), (60, 105))):
            output = StudentOutput(None, latent[begin:end], head=whole.outputs["points"]._head)
            contexts.append(made_context(batch, outputs={"points": output}))
        # What the ranks hand in is known beforehand: gathering joins it in their order.
        handed: list[list[Tensor]] = [[], []]
        for rank, context in enumerate(contexts):
            context.gather = lambda rows, rank=rank: (handed[rank].append(rows), (rows, 0))[1]
            made.tokens(context)
            context._made.clear()
            context.generator.manual_seed(11)
        for module in made.modules.values():
            module.zero_grad()
        totals = []
        for rank, context in enumerate(contexts):
            calls = iter(range(len(handed[0])))
            first = len(handed[0][0]) if rank else 0
            context.gather = lambda rows, calls=calls, first=first: (
                torch.cat([side[k] for k in (next(calls),) for side in handed]),
                first,
            )
            totals.append(made(context).total)
        torch.testing.assert_close(sum(totals), total)
        sum(totals).backward()
        for module in made.modules.values():
            for name, parameter in module.named_parameters(prefix=str(id(module))):
                torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(latent.grad, whole.outputs["points"].latent.grad, rtol=1e-4, atol=1e-5)

    @staticmethod
    def only(batch: TrainingBatch, number: int) -> TrainingBatch:
        begin, end = (int(batch.first_point[number + k]) for k in (0, 1))
        cloud = batch.cloud
        rows = (batch.points.element >= begin) & (batch.points.element < end)
        return replace(
            batch,
            scans=batch.scans[number : number + 1],
            names=batch.names[number : number + 1],
            cloud=type(cloud).from_points(
                cloud.inputs[begin:end], cloud.positions[begin:end], torch.zeros(end - begin, dtype=torch.int64)
            ),
            first_point=torch.tensor([0, end - begin]),
            segments=batch.segments[begin:end],
            points=Supervision(batch.points.element[rows] - begin, batch.points.class_ids[rows]),
            pictures=None,
            links=None,
        )

    def test_positions_reach_the_transformers_in_metres(self):
        context, made = made_context(), small(position_code="xyz_fourier", metres_per_voxel=0.25)
        tokens = made.tokens(context)
        metres = 0.25 * context.batch.cloud.positions[tokens.points.rows]
        scene = made.modules["scene"](tokens.before, tokens.points.scan, across=False, positions=metres)
        torch.testing.assert_close(tokens.levels[0], scene)

    def test_points_with_several_rows_have_their_most_frequent_class(self):
        rows = Supervision(torch.tensor([4, 1, 1, 1, 4]), torch.tensor([3, 2, 0, 2, 1]))
        assert point_classes(rows, 6, 5).tolist() == [-1, 2, -1, -1, 1, -1]

    def test_nothing_labelled_is_no_loss(self):
        context = made_context()
        nothing = torch.zeros(0, dtype=torch.int64)
        context.supervision = {"points": Supervision(nothing, nothing)}
        made = small()
        terms = [loss(context) for loss in (made, FeedbackKL(made))]
        assert [(term.rows, float(term.total.detach())) for term in terms] == [(0, 0.0)] * 2
        sum(term.total for term in terms).backward()

    def test_what_is_refused(self):
        with pytest.raises(ConventionError, match="one or both of scene, batch"):
            Correlation({})
        with pytest.raises(ConventionError, match="edge of a voxel"):
            build_correlation(8, CorrelationSettings(heads=2, position_code="xyz_fourier"))


class TestMatching:
    def test_sampling_is_that_of_lifting(self):
        """Also beyond the outermost centres, and by hand: 1 × 2 cells over 2 × 4 pixels."""
        g = torch.Generator().manual_seed(0)
        grid = torch.randn(2, 3, 4, 5, generator=g)
        row, column = torch.randint(0, 30, (50,), generator=g), torch.randint(0, 40, (50,), generator=g)
        view = torch.randint(0, 2, (50,), generator=g)
        sampled = at_pixels(grid, 30, 40, PixelLinks(view, view, row, column))
        for number in (0, 1):
            field = DenseField(grid[number].movedim(0, -1).numpy(), 30, 40, kind="features")
            mine = view == number
            np.testing.assert_allclose(
                sampled[mine].numpy(), sample_field(field, row[mine].numpy(), column[mine].numpy()), atol=1e-5
            )
        zero = torch.zeros(4, dtype=torch.int64)
        by_hand = at_pixels(torch.tensor([[[[0.0, 4.0]]]]), 2, 4, PixelLinks(zero, zero, zero, torch.arange(4)))
        assert by_hand[:, 0].tolist() == [0.0, 1.0, 3.0, 4.0]

    def test_cosines_in_blocks_are_torchs_with_their_gradient(self):
        """More rows than a block has, one of zeros, one target of zeros, none at all."""
        g = torch.Generator().manual_seed(1)
        student = torch.randn(5000, 3, generator=g, dtype=torch.float64)
        target = torch.randn(5000, 3, generator=g, dtype=torch.float64)
        incoming = torch.rand(5000, generator=g, dtype=torch.float64)
        target[4500] = 0
        ours, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
        cosine, expected = cosine_of_rows(ours, target), nn.functional.cosine_similarity(theirs, target)
        torch.testing.assert_close(cosine, expected)
        cosine.backward(incoming)
        expected.backward(incoming)
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert torch.autograd.gradcheck(cosine_of_rows, (student[:7].clone().requires_grad_(), target[:7]))
        zero = torch.zeros(2, 3, requires_grad=True)
        cosine_of_rows(zero, torch.ones(2, 3)).sum().backward()
        assert torch.isfinite(zero.grad).all()
        assert cosine_of_rows(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)

    def test_points_against_loops(self):
        context, loss = made_context(), FeatureMatch("points", 5, 6)
        batch, latent = context.batch, context.outputs["points"].latent
        target = at_pixels(batch.pictures.targets, HEIGHT, WIDTH, batch.links)
        expected = 0.0
        for k in range(len(batch.links.point)):
            mine, frozen = loss.projection(latent[batch.links.point[k]]), target[k]
            expected += 1 - float((mine @ frozen / mine.norm() / frozen.norm()).detach())
        term = loss(context)
        assert term.rows == 80 and float(term.total.detach()) == pytest.approx(expected, rel=1e-5)

    def test_pixels_meet_targets_at_the_centres_of_their_cells(self):
        """Targets of 6 × 8 cells under a student of 3 × 4: each sees the mean of four."""
        context, loss = made_context(), FeatureMatch("pixels", 5, 6)
        targets = context.batch.pictures.targets
        mean = nn.functional.avg_pool2d(targets, 2).movedim(1, -1).flatten(0, 2)
        mine = loss.projection(context.outputs["pixels"].latent)
        expected = (1 - nn.functional.cosine_similarity(mine, mean)).sum()
        term = loss(context)
        torch.testing.assert_close(term.total, expected)
        assert term.rows == 4 * GRID[0] * GRID[1]

    def test_perfect_agreement_costs_nothing_and_unknown_targets_do_not_count(self):
        batch = made_batch(channels=8)
        targets = torch.zeros_like(batch.pictures.targets)
        targets[1:] = unit_text()[2][:, None, None]
        batch = replace(batch, pictures=replace(batch.pictures, targets=targets))
        outputs = made_outputs(batch)
        outputs["points"] = StudentOutput(3.0 * unit_text()[2].expand(105, 8), torch.zeros(105, 5))
        term = FeatureMatch("points", 5, 8, space="text")(made_context(batch, outputs=outputs))
        assert float(term.total) == pytest.approx(0.0, abs=1e-4) and term.rows == int((batch.links.view > 0).sum()) < 80

    @pytest.mark.parametrize("modality", ["points", "pixels"])
    @pytest.mark.parametrize("space", ["latent", "text"])
    def test_the_other_student_is_held(self, modality: str, space: str):
        context = made_context()
        term = FeatureMatch(modality, 5, 5, target="other", space=space)(context)
        term.total.backward()
        other = "pixels" if modality == "points" else "points"
        assert term.rows == 80 and context.outputs[other].latent.grad is None
        assert context.outputs[other]._head.weight.grad is None
        assert float(context.outputs[modality].latent.grad.abs().sum()) > 0

    def test_some_links_of_each_scan(self):
        context = made_context()
        term = FeatureMatch("points", 5, 6, links_per_scan=7)(context)
        assert term.rows == 14
        assert FeatureMatch("points", 5, 6, links_per_scan=1000)(made_context()).rows == 80

    def test_what_is_refused(self):
        with pytest.raises(ConventionError, match="matching of pixels"):
            FeatureMatch("pixels", 5, 0)
        batch = made_batch()
        without = replace(batch, pictures=replace(batch.pictures, targets=None))
        with pytest.raises(ConventionError, match="prepare feature targets"):
            FeatureMatch("points", 5, 6)(made_context(without))


class TestGridConsistency:
    def test_agreement_against_loops(self):
        g = torch.Generator().manual_seed(0)
        x, text = torch.randn(9, 4, generator=g), torch.randn(3, 4, generator=g)
        cell = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2, 2])
        expected = torch.zeros(9)
        for number in range(3):
            members = x[cell == number]
            g = (members @ text[number]).softmax(dim=0) @ members
            expected[cell == number] = members @ g
        torch.testing.assert_close(fused_agreement(x, text, cell), expected)
        leaf = x.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: fused_agreement(rows, text.double(), cell), leaf)

    def test_cells_of_a_batch(self):
        """Every pair is in the cell it lies in, cells hold eight at most, scans never mix, the first row's label attends."""
        batch = made_batch(counts=(300, 200))
        batch = replace(batch, points=Supervision(torch.arange(500).repeat(2), torch.arange(1000) % 5))
        loss = GridConsistency(5, 8, cell_voxels=2.0)
        row, cell = loss._cells(made_context(batch))
        place = (batch.cloud.positions / 2).floor().long()
        where = torch.cat([batch.cloud.batch[:, None], place], dim=1)[batch.points.element[row]]
        assert torch.equal(cell, cell.sort().values) and torch.equal(cell.unique(), torch.arange(int(cell[-1]) + 1))
        occupied = torch.cat([batch.cloud.batch[:, None], place], dim=1)[batch.points.element].unique(dim=0, return_counts=True)
        for number in range(int(cell[-1]) + 1):
            assert len(where[cell == number].unique(dim=0)) == 1
        assert len(row.unique()) == len(row) == int(occupied[1].clamp_max(8).sum())
        assert int(cell[-1]) + 1 == len(occupied[0])
        context = made_context(batch)
        term = loss(context)
        features = loss.local(context.outputs["points"].latent[batch.points.element[row]])
        first = [int((cell == number).nonzero()[0]) for number in range(int(cell[-1]) + 1)]
        label = batch.points.class_ids[row[first]]
        expected = (1 - torch.sigmoid(fused_agreement(features, context.text[label], cell))).sum()
        torch.testing.assert_close(term.total, expected)
        assert term.rows == len(row)

    def test_some_cells_of_each_scan(self):
        row, cell = GridConsistency(5, 8, cells_per_scan=4)._cells(made_context())
        assert torch.equal(cell.unique(), torch.arange(8))
        scan = made_batch().cloud.batch[made_batch().points.element[row]]
        assert torch.equal(scan, (cell >= 4).long())

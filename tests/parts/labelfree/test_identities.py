"""What the papers' equations say, analytic against autograd against finite differences, in float64.

Identities of the specification that are proved elsewhere: 6 (majority vote) in tests/parts/labelfree/test_votes.py, 8 in
test_oversegmentation.py, 9 in test_lifting.py, 10 in tests/teachers, 12 (metrics by hand, absent classes and ignored elements
too) in tests/metrics/test_segmentation.py, 13 in tests/kernels and tests/networks.
"""

import math

import numpy as np
import pytest
import torch
from tests.support.analytic import EXACT, C, M, check, numbers
from tests.support.fabricated_step import made_batch, made_context, made_outputs, unit_text
from torch import Tensor, nn

from scenewise.networks.correlation import CorrelationTransformer
from scenewise.parts.labelfree.equations import inner_products, posterior_divergence
from scenewise.parts.labelfree.label_sources import CLIP, CROSS, SELF, Fixed, Switch, cross_entropy
from scenewise.parts.labelfree.regularisers import Correlation, CorrelationSettings, FeedbackKL, build_correlation
from scenewise.parts.labelfree.sampling import sample_tokens
from scenewise.parts.labelfree.steps import LossContext
from scenewise.parts.segments.votes import MajorityVote
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition


@pytest.fixture(params=["vit", "paper"])
def transformer(request: pytest.FixtureRequest) -> CorrelationTransformer:
    torch.manual_seed(0)
    made = CorrelationTransformer(8, layers=2, heads=2, layer_form=request.param).double()
    with torch.no_grad():
        for parameter in made.parameters():  # far from the identity it begins with
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    return made


class TestIdentity4:
    """Attention within scenes and across them is one module."""

    SCAN = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])

    def test_one_scene_within_is_across(self, transformer: CorrelationTransformer):
        tokens, scan = numbers(9, 8), torch.zeros(9, dtype=torch.int64)
        torch.testing.assert_close(transformer(tokens, scan, across=False), transformer(tokens, scan, across=True), **EXACT)

    def test_within_is_across_scene_by_scene(self, transformer: CorrelationTransformer):
        """Which is what a block-diagonal mask makes of attention across scenes."""
        tokens = numbers(9, 8)
        blocks = [transformer(tokens[s == self.SCAN], self.SCAN[s == self.SCAN], across=True) for s in range(3)]
        torch.testing.assert_close(transformer(tokens, self.SCAN, across=False), torch.cat(blocks), **EXACT)
        assert (transformer(tokens, self.SCAN, across=True) - torch.cat(blocks)).abs().max() > 1e-3

    def test_block_diagonal_mask_over_the_whole_batch_is_within(self):
        form = CorrelationTransformer(8, layers=1, heads=2, layer_form="paper").double()
        tokens = numbers(9, 8)
        layer = form.layers[0]
        masked = layer.taken_apart(tokens, self.SCAN[:, None] == self.SCAN[None])
        torch.testing.assert_close(form(tokens, self.SCAN, across=False), masked.output(), **EXACT)

    @pytest.mark.parametrize("across", [False, True])
    def test_order_of_tokens_does_not_matter(self, transformer: CorrelationTransformer, across: bool):
        tokens, order = numbers(9, 8), torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
        straight = transformer(tokens, self.SCAN, across=across)
        torch.testing.assert_close(transformer(tokens[order], self.SCAN[order], across=across), straight[order], **EXACT)

    def test_the_loss_with_one_scene_is_the_same_at_both_levels(self):
        batch = made_batch(counts=(70,))
        made = build_correlation(8, CorrelationSettings(levels=("scene",), tokens_per_scan=30, layers=1, heads=2))
        across = Correlation({"batch": made.modules["scene"]}, tokens_per_scan=30)
        torch.testing.assert_close(made(made_context(batch)).total, across(made_context(batch)).total)


class TestIdentity5:
    """The divergence of the feedback."""

    def test_never_negative_and_zero_for_equal_posteriors_alone(self):
        target, scores = numbers(M, C), numbers(M, C, seed=1)
        for row in range(M):
            assert float(posterior_divergence(target[row : row + 1], scores[row : row + 1])) > 0
        # Adding a number to all scores of a row leaves its posterior as it is.
        same = target + numbers(M, seed=2)[:, None]
        assert abs(float(posterior_divergence(target, same))) < 1e-12

    def test_gradient_is_student_minus_target(self):
        target, scores = numbers(M, C), numbers(M, C, seed=1)
        check(scores.softmax(dim=1) - target.softmax(dim=1), lambda s: posterior_divergence(target, s), scores)

    @pytest.mark.parametrize("space", ["class", "channel"])
    @pytest.mark.parametrize("direction", ["distil", "literal"])
    def test_the_target_receives_nothing(self, space: str, direction: str):
        context = made_context()
        correlation = build_correlation(8, CorrelationSettings(tokens_per_scan=20, layers=1, heads=2))
        term = FeedbackKL(correlation, space=space, direction=direction)(context)
        term.total.backward()
        assert float(term.total.detach()) > 0 and term.rows == 40
        assert all(p.grad is None for module in correlation.modules.values() for p in module.parameters())
        tokens = correlation.tokens(context)
        gradient = context.outputs["points"].latent.grad
        assert (gradient[tokens.points.rows].abs().sum(dim=1) > 0).all() and gradient.abs().sum() > 0

    def test_what_is_told_back_is_the_class_posterior_and_the_order_matters(self):
        context = made_context()
        correlation = build_correlation(8, CorrelationSettings(tokens_per_scan=20, layers=1, heads=2))
        tokens = correlation.tokens(context)
        before, after = (inner_products(each.detach(), context.text) for each in (tokens.before, tokens.after))
        distil = FeedbackKL(correlation)(context).total
        literal = FeedbackKL(correlation, direction="literal")(context).total
        kl = nn.functional.kl_div(before.log_softmax(1), after.log_softmax(1), reduction="sum", log_target=True)
        torch.testing.assert_close(distil, kl)
        kl = nn.functional.kl_div(after.log_softmax(1), before.log_softmax(1), reduction="sum", log_target=True)
        torch.testing.assert_close(literal, kl)
        assert abs(float((distil - literal).detach())) > 1e-4 * float(distil.detach())


class TestIdentity6:
    """The majority vote as learning uses it; all of it is in tests/parts/labelfree/test_votes.py."""

    def test_idempotent_pure_relabelled_one_view_and_monotone(self):
        rng = np.random.default_rng(0)
        truth = np.repeat(np.arange(60) % 4, 30)
        noisy = np.where(rng.random(1800) < 0.4, rng.integers(0, 4, 1800), truth).astype(np.int32)
        said, sets = LabelField.certain(noisy), np.repeat(np.arange(60), 30)
        vote, partition = MajorityVote(), Partition.from_any_ids(sets, "file")
        once = vote(said, partition)
        np.testing.assert_array_equal(vote(once, partition).class_ids, once.class_ids)
        pure = LabelField.certain(truth)
        np.testing.assert_array_equal(vote(pure, partition).class_ids, truth)
        np.testing.assert_array_equal(vote(said, Partition.from_any_ids(59 - sets, "file")).class_ids, once.class_ids)
        none = np.zeros(1800, np.int32)
        links = Correspondence(np.arange(1800), none, none, none, 1800, 1)
        for scope in ("scene", "view"):
            again = MajorityVote(scope).over_views(links, said, partition, 4)
            np.testing.assert_array_equal(again.class_ids, once.class_ids)
        accuracy = []
        for mixed in (0.0, 0.3, 0.6, 1.0):
            impure = np.where(rng.random(1800) < mixed, rng.permutation(sets), sets)
            accuracy.append((vote(said, Partition.from_any_ids(impure, "file")).class_ids == truth).mean())
        assert accuracy == sorted(accuracy, reverse=True) and accuracy[0] > 0.95 > accuracy[-1] + 0.3


class TestIdentity7:
    """Sampling in proportion to the sets."""

    SIZES = (400, 91, 33, 20, 7, 3, 1, 1)
    COUNT = 64

    def drawn(self, seed: int) -> Tensor:
        segments = torch.repeat_interleave(torch.arange(len(self.SIZES)), torch.tensor(self.SIZES))
        n = len(segments)
        eligible = torch.ones(n, dtype=torch.bool)
        tokens = sample_tokens(segments, eligible, torch.tensor([0, n]), self.COUNT, torch.Generator().manual_seed(seed))
        return tokens.rows

    def test_within_one_of_proportional_distinct_and_unbiased(self):
        n = sum(self.SIZES)
        segments = torch.repeat_interleave(torch.arange(len(self.SIZES)), torch.tensor(self.SIZES))
        expected = self.COUNT * torch.tensor(self.SIZES, dtype=torch.float64) / n
        seeds = 1000
        by_point = torch.zeros(n, dtype=torch.float64)
        neighbours = 0
        for seed in range(seeds):
            rows = self.drawn(seed)
            assert len(rows) == self.COUNT and len(rows.unique()) == self.COUNT
            per_set = torch.bincount(segments[rows], minlength=len(self.SIZES))
            assert ((per_set - expected).abs() < 1).all()
            by_point[rows] += 1
            neighbours += int((rows[rows < self.SIZES[0]].diff() == 1).sum())
        # Points of a set are drawn at random: stepping through them as stored would never take two neighbours.
        expected_pairs = (self.SIZES[0] - 1) * (expected[0] / self.SIZES[0]) ** 2
        assert abs(neighbours / seeds / float(expected_pairs) - 1) < 0.1
        chance = self.COUNT / n
        # Per point: 556 binomial counts.  χ² with n degrees of freedom, divided by (1 − chance), within 4 σ.
        statistic = float(((by_point - seeds * chance) ** 2 / (seeds * chance * (1 - chance))).sum())
        assert abs(statistic - n) < 4 * math.sqrt(2 * n)
        # Per set: the share that systematic sampling leaves to chance has at most variance ¼ per seed.
        by_set = torch.zeros(len(self.SIZES), dtype=torch.float64).index_add(0, segments, by_point)
        fraction = expected - expected.floor()
        deviation = (by_set - seeds * expected) / (seeds * (fraction * (1 - fraction)).clamp_min(1e-3)).sqrt()
        assert float((deviation**2).sum()) < 26.1  # χ² of 8 degrees of freedom exceeds it once in a thousand

    def test_small_scans_give_everything_and_the_unlabelled_nothing(self):
        batch = made_batch(counts=(20, 60))
        eligible = torch.arange(80) % 5 != 0
        tokens = sample_tokens(batch.segments, eligible, batch.first_point, 24, torch.Generator().manual_seed(0), batch.scans)
        assert tokens.rows[tokens.scan == 0].tolist() == [row for row in range(20) if row % 5]
        assert int((tokens.scan == 1).sum()) == 24 and eligible[tokens.rows].all()

    def test_a_scan_gives_the_same_whatever_else_is_in_the_batch(self):
        """So that two processes with a scan each draw what one with both draws."""
        batch = made_batch()
        eligible = torch.ones(105, dtype=torch.bool)
        both = sample_tokens(batch.segments, eligible, batch.first_point, 9, torch.Generator().manual_seed(4), (10, 11))
        alone = sample_tokens(
            batch.segments[60:], eligible[60:], torch.tensor([0, 45]), 9, torch.Generator().manual_seed(4), (11,)
        )
        assert torch.equal(both.rows[both.scan == 1] - 60, alone.rows)


class TestIdentity11:
    """Switching between sources."""

    @pytest.mark.parametrize("granularity", ["step", "scene", "element"])
    @pytest.mark.parametrize("modality", ["points", "pixels"])
    def test_frequencies_are_the_shares(self, granularity: str, modality: str):
        shares = (0.5, 0.3, 0.2)
        batch, counts = made_batch(links=200), torch.zeros(3, dtype=torch.float64)
        switch = Switch(shares, granularity=granularity)
        steps = {"step": 1500, "scene": 750, "element": 3}[granularity]
        context = made_context(batch)
        for _ in range(steps):
            drawn = switch._drawn(context, modality)
            if isinstance(drawn, int):
                counts[drawn] += 1
            elif granularity == "element":
                counts += torch.bincount(drawn, minlength=3)
            elif modality == "points":
                for begin, end in ((0, 60), (60, 105)):
                    assert len(drawn[begin:end].unique()) == 1
                    counts[drawn[begin]] += 1
            else:
                of_scan = drawn.view(2, -1)
                assert all(len(one.unique()) == 1 for one in of_scan)
                counts += torch.bincount(of_scan[:, 0], minlength=3)
        expected = counts.sum() * torch.tensor(shares, dtype=torch.float64)
        assert float(((counts - expected) ** 2 / expected).sum()) < 13.8  # χ² of 2 degrees of freedom, once in a thousand

    def test_shares_1_0_0_train_as_the_fixed_source_bit_for_bit(self):
        def trained(source: Fixed | Switch) -> list[Tensor]:
            torch.manual_seed(0)
            batch, text = made_batch(), unit_text()
            outputs = made_outputs(batch)
            points = outputs["points"].latent
            head = outputs["points"]._head
            correlation = build_correlation(8, CorrelationSettings(tokens_per_scan=16, layers=1, heads=2))
            losses = (correlation, FeedbackKL(correlation))
            parameters = [points, *head.parameters(), *(p for m in correlation.modules.values() for p in m.parameters())]
            optimiser = torch.optim.SGD(parameters, lr=0.1)
            generator = torch.Generator().manual_seed(5)
            for epoch in range(1, 5):
                context = LossContext(epoch, batch, text, outputs, {}, generator)
                context.supervision = {modality: source(context, modality)[0] for modality in ("points", "pixels")}
                terms = [cross_entropy(context, "points"), *(loss(context) for loss in losses)]
                optimiser.zero_grad()
                sum(term.total / term.rows for term in terms).backward()
                optimiser.step()
            return [p.detach().clone() for p in parameters]

        fixed = trained(Fixed())
        for source in (
            Switch((1.0, 0.0, 0.0)),
            Switch((1.0, 0.0, 0.0), granularity="element"),
            Switch((0.0, 1.0, 0.0), from_epoch=9),
        ):
            assert all(torch.equal(a, b) for a, b in zip(fixed, trained(source), strict=True))
        other = trained(Switch((0.0, 1.0, 0.0), from_epoch=3))
        assert not torch.equal(fixed[0], other[0])

    def test_half_and_half_is_clip2scene(self):
        """The whole label vector is the teacher's or the argmax of the student's own logits, on the same rows."""
        batch = made_batch()
        seen = set()
        for seed in range(12):
            context = made_context(batch, seed=seed)
            rows, counts = Switch((0.5, 0.5, 0.0), everywhere=False)(context, "points")
            assert torch.equal(rows.element, batch.points.element)
            own = context.outputs["points"].logits(context.text).argmax(dim=1)[rows.element]
            source = int(counts.argmax())
            assert torch.equal(rows.class_ids, batch.points.class_ids if source == CLIP else own)
            assert counts.tolist() == [len(rows) if index == source else 0 for index in range(3)]
            seen.add(source)
        assert seen == {CLIP, SELF}

    def test_students_draw_for_themselves(self):
        together = []
        for seed in range(60):
            context = made_context(seed=seed)
            switch = Switch((1 / 3, 1 / 3, 1 / 3))
            together.append(tuple(int(switch(context, modality)[1].argmax()) for modality in ("points", "pixels")))
        assert len(set(together)) == 9  # every pair of sources occurs
        assert CROSS in {pair[0] for pair in together}

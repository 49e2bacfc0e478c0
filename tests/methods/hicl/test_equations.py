"""What HICL's equations say, analytic against autograd against finite differences, in float64.

Identities 1 to 3 of the specification; the others are in tests/parts/labelfree/test_identities.py.
"""

import math

import pytest
import torch
from tests.support.analytic import DIM, EXACT, C, M, N, check, numbers
from tests.support.fabricated_step import made_context
from torch import Tensor, nn

from scenewise.methods.hicl import equations as eq
from scenewise.networks.correlation import CorrelationTransformer
from scenewise.parts.labelfree.equations import cross_entropy_of_scores, inner_products
from scenewise.parts.labelfree.label_sources import cross_entropy
from scenewise.parts.labelfree.regularisers import CorrelationSettings, build_correlation


class Case:
    """h, w, e and labels of eq. 4; w = softmax(s)."""

    own, others, attention_scores = numbers(M, C), numbers(N, C, seed=1), numbers(M, N, seed=2)
    attention = attention_scores.softmax(dim=1)
    class_ids = torch.tensor([0, 3, 1, 3])

    @classmethod
    def loss(cls, own: Tensor | None = None, attention: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        own, attention, others = (
            default if given is None else given
            for given, default in ((own, cls.own), (attention, cls.attention), (others, cls.others))
        )
        return cross_entropy_of_scores(eq.correlated_scores(own, attention, others), cls.class_ids)


class TestIdentity1:
    """Equations 1, 2, 5, the corrected 6, and the chain through softmax attention."""

    def test_equation_1_is_the_textbook_formula_and_the_trained_loss(self):
        features, text, class_ids = numbers(M, DIM), numbers(C, DIM, seed=5), Case.class_ids
        by_hand = 0.0
        for m in range(M):
            scores = [sum(float(a * b) for a, b in zip(features[m], text[c])) for c in range(C)]
            by_hand -= math.log(math.exp(scores[int(class_ids[m])]) / sum(math.exp(score) for score in scores))
        assert float(eq.cross_entropy_of_inner_products(features, text, class_ids)) == pytest.approx(by_hand, abs=1e-10)

    def test_trained_cross_entropy_of_points_is_equation_1(self):
        context = made_context()
        rows, student = context.batch.points, context.outputs["points"]
        expected = eq.cross_entropy_of_inner_products(student.embeddings[rows.element], context.text, rows.class_ids)
        term = cross_entropy(context, "points")
        assert term.rows == len(rows)
        torch.testing.assert_close(term.total, expected)

    def test_trained_correlation_loss_is_equation_1_of_what_the_transformer_says(self):
        context = made_context()
        correlation = build_correlation(8, CorrelationSettings(tokens_per_scan=20, layers=2, heads=2))
        term, tokens = correlation(context), correlation.tokens(context)
        torch.testing.assert_close(term.total, eq.cross_entropy_of_inner_products(tokens.after, context.text, tokens.class_ids))
        assert term.rows == len(tokens.points) == 40

    def test_equation_2(self):
        check(
            eq.gradient_by_scores(Case.own, Case.class_ids),
            lambda h: cross_entropy_of_scores(h, Case.class_ids),
            Case.own,
        )

    def test_equation_5_for_each_token(self):
        analytic = eq.gradient_by_token_scores(Case.own, Case.attention, Case.others, Case.class_ids)
        for m in range(M):
            check(
                analytic[m],
                lambda e, m=m: cross_entropy_of_scores(
                    eq.correlated_scores(Case.own, Case.attention, e)[m : m + 1], Case.class_ids[m : m + 1]
                ),
                Case.others,
            )

    def test_equation_5_summed_because_tokens_are_shared(self):
        analytic = eq.gradient_by_token_scores(Case.own, Case.attention, Case.others, Case.class_ids).sum(dim=0)
        check(analytic, lambda e: Case.loss(others=e), Case.others)

    def test_equation_6_corrected(self):
        analytic = eq.gradient_by_attention(Case.own, Case.attention, Case.others, Case.class_ids)
        check(analytic, lambda w: Case.loss(attention=w), Case.attention)
        # … = E_y[e_n] − e_{n,l̂}, and the sum over classes of what is printed, none of whose summands is it.
        posterior = eq.correlated_scores(Case.own, Case.attention, Case.others).softmax(dim=1)
        expectation = posterior @ Case.others.T - Case.others.T[Case.class_ids]
        torch.testing.assert_close(analytic, expectation, **EXACT)
        printed = eq.printed_gradient_by_attention(Case.own, Case.attention, Case.others, Case.class_ids)
        torch.testing.assert_close(printed.sum(dim=2), analytic, **EXACT)
        assert ((printed - analytic[:, :, None]).abs().amin(dim=(0, 1)) > 1e-4).all()

    def test_chain_through_softmax_attention(self):
        by_attention = eq.gradient_by_attention(Case.own, Case.attention, Case.others, Case.class_ids)
        analytic = eq.gradient_by_attention_scores(Case.attention, by_attention)
        check(analytic, lambda s: Case.loss(attention=s.softmax(dim=1)), Case.attention_scores)
        torch.testing.assert_close(analytic.sum(dim=1), torch.zeros(M, dtype=torch.float64), **EXACT)


class TestIdentity2:
    """Equation 3, of the functions and of the transformer's paper form."""

    def layer(self) -> tuple[Tensor, ...]:
        features, values = numbers(M, DIM), numbers(N, DIM, seed=1)
        return features, Case.attention, values, numbers(DIM, DIM, seed=2), numbers(DIM, seed=3)

    def test_factored_form(self):
        torch.testing.assert_close(eq.attention_layer(*self.layer()), eq.factored_layer(*self.layer()), **EXACT)

    def test_without_attention_and_weights_it_is_the_identity_plus_b(self):
        features, attention, values, weight, bias = self.layer()
        nothing = eq.factored_layer(features, 0 * attention, values, 0 * weight, bias)
        torch.testing.assert_close(nothing, features + bias, **EXACT)

    def test_split_of_the_scores_needs_the_inner_product(self):
        features, attention, values, weight, bias = self.layer()
        text = nn.functional.normalize(numbers(C, DIM, seed=5), dim=1)
        own, others = features + features @ weight.T, values + values @ weight.T
        whole = eq.factored_layer(features, attention, values, weight, bias)
        split = eq.correlated_scores(inner_products(own, text), attention, inner_products(others, text))
        torch.testing.assert_close(inner_products(whole, text), split + inner_products(bias[None], text), **EXACT)
        cosine = nn.functional.normalize(whole, dim=1) @ text.T
        split = eq.correlated_scores(
            nn.functional.normalize(own, dim=1) @ text.T, attention, nn.functional.normalize(others, dim=1) @ text.T
        )
        assert (cosine - split).abs().max() > 0.1

    def test_transformer_in_paper_form_is_the_equation(self):
        transformer = CorrelationTransformer(DIM, layers=1, heads=1, layer_form="paper").double()
        layer = transformer.layers[0]
        tokens, scan = numbers(N, DIM), torch.zeros(N, dtype=torch.int64)
        scores = layer.query(tokens) @ layer.key(tokens).T / math.sqrt(DIM)
        expected = eq.factored_layer(tokens, scores.softmax(dim=1), layer.value(tokens), layer.linear.weight, layer.linear.bias)
        torch.testing.assert_close(transformer(tokens, scan, across=True), expected, **EXACT)


class TestIdentity3:
    """Which attention weights a gradient step raises."""

    # One token with label 0.  Token 0 speaks for label 0 (0.4 > 0), but far more for class 1: its weight falls.  Token 1 speaks
    # against label 0 (−0.3 < 0), but less than against the rest: its weight grows.  The printed rule has both wrong.
    OWN = torch.tensor([[0.2, 1.0, -0.5]], dtype=torch.float64)
    ATTENTION = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    OTHERS = torch.tensor([[0.4, 2.7, 0.5], [-0.3, -1.5, -0.9]], dtype=torch.float64)
    LABEL = torch.tensor([0])
    STEP = 1e-3

    def raised(self, own: Tensor, attention: Tensor, others: Tensor, class_ids: Tensor) -> Tensor:
        weights = attention.clone().requires_grad_()
        cross_entropy_of_scores(eq.correlated_scores(own, weights, others), class_ids).backward()
        return (weights.detach() - self.STEP * weights.grad) > attention

    def test_corrected_rule_on_random_cases(self):
        for seed in range(20):
            own, others = numbers(M, C, seed=seed), numbers(N, C, seed=seed + 50)
            attention = numbers(M, N, seed=seed).softmax(dim=1)
            posterior = eq.correlated_scores(own, attention, others).softmax(dim=1)
            rule = eq.attention_grows(posterior, others, Case.class_ids)
            assert torch.equal(self.raised(own, attention, others, Case.class_ids), rule)

    def test_printed_rule_fails_on_the_stored_counter_example(self):
        raised = self.raised(self.OWN, self.ATTENTION, self.OTHERS, self.LABEL)
        assert raised.tolist() == [[False, True]]
        posterior = eq.correlated_scores(self.OWN, self.ATTENTION, self.OTHERS).softmax(dim=1)
        assert torch.equal(eq.attention_grows(posterior, self.OTHERS, self.LABEL), raised)
        assert eq.printed_attention_grows(self.OTHERS, self.LABEL).tolist() == [[True, False]]

    def test_printed_rule_is_wrong_for_a_fifth_of_random_cases(self):
        own, others, attention = numbers(2000, C), numbers(50, C), numbers(2000, 50).softmax(dim=1)
        class_ids = torch.arange(2000) % C
        posterior = eq.correlated_scores(own, attention, others).softmax(dim=1)
        differs = eq.attention_grows(posterior, others, class_ids) != eq.printed_attention_grows(others, class_ids)
        assert 0.15 < float(differs.double().mean()) < 0.3

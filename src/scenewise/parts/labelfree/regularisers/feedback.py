"""Feedback: what the transformers know is told to the network that is deployed without them."""

from collections.abc import Mapping
from typing import Literal, assert_never, final

from torch import nn

from scenewise.parts.labelfree.equations import inner_products, posterior_divergence
from scenewise.parts.labelfree.label_sources import summable
from scenewise.parts.labelfree.regularisers.correlation import Correlation
from scenewise.parts.labelfree.steps import LossContext, LossTerm

Space = Literal["class", "channel"]
Direction = Literal["distil", "literal"]


@final
class FeedbackKL:
    """Divergence between what the 3D network and the transformers say of the sampled points; the transformers are held.

    L_kl = Σ_m KL(f_m, f̂_m).  Source: HICL (Kang et al., CVPR 2024), Eq. 8.  Its sum over tokens would outweigh a mean of cross
    entropies by their number; the trainer divides by the rows.

    Args:
        correlation: whose tokens; they are shared with it within a step.
        space: "class": posteriors softmax_c(ψ(f, T̂_c)), which the network is used for; "channel": softmax over the channels of f
            itself, as the equation reads.
        direction: "distil": KL(transformers ‖ network); "literal": KL(network ‖ transformers), the order of the equation.  Both
            with f̂ held.
        name: under which schedules know it.
    """

    def __init__(
        self, correlation: Correlation, *, space: Space = "class", direction: Direction = "distil", name: str = "feedback"
    ) -> None:
        self.name = name
        self.modules: Mapping[str, nn.Module] = {}
        self.correlation = correlation
        self.space: Space = space
        self.direction: Direction = direction

    def __call__(self, context: LossContext) -> LossTerm:
        """The divergence summed over this step's tokens."""
        tokens = self.correlation.tokens(context)
        before, after = summable(tokens.before), summable(tokens.after.detach())
        if self.space == "class":
            before, after = (inner_products(each, context.text) for each in (before, after))
        if self.direction == "distil":
            total = posterior_divergence(after, before)
        elif self.direction == "literal":
            total = posterior_divergence(before, after)
        else:
            assert_never(self.direction)
        return LossTerm(total, len(before))

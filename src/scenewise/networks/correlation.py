"""The correlation transformer: point tokens look at the tokens of their own scan, or of all scans of a batch.

Of HICL (CVPR 2024), for training only: the 3D network is deployed without it.  Notation of the paper's eq. 3: f_m tokens, w_mn
attention weights, v_n values, f̃_m = f_m + Σ_n w_mn v_n, f̂_m = f̃_m + (W f̃_m + b).
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.errors import ConventionError

LayerForm = Literal["vit", "paper"]
PositionCode = Literal["xyz_fourier"]

WAVELENGTHS_M = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
"""Of the position code: from twice a large room down to a chair."""


@dataclass(frozen=True)
class EquationThree:
    """A paper-form layer taken apart: f̂_m = f'_m + Σ_n w_mn v'_n + b with f' = (W + I) f and v' = (W + I) v.

    Attributes:
        features: f'.
        weights: w per head; rows sum to 1, 0 between tokens that do not see each other.
        values: v' of each head; heads are summed, so that one head is the paper's equation to the letter.
        bias: b.
    """

    features: Float[Tensor, "tokens dim"]
    weights: Float[Tensor, "heads tokens tokens"]
    values: Float[Tensor, "heads tokens dim"]
    bias: Float[Tensor, "dim"]

    def output(self) -> Float[Tensor, "tokens dim"]:
        """f̂ by the right-hand side."""
        return self.features + (self.weights @ self.values).sum(0) + self.bias


@dataclass(frozen=True)
class _Groups:
    """Tokens sorted so that those which see each other lie together: the attention mask without a mask."""

    order: Tensor | None
    lengths: tuple[int, ...]

    @staticmethod
    def of(scan: Tensor, across: bool) -> "_Groups":
        if across:
            return _Groups(None, (len(scan),))
        order = None if bool((scan[1:] >= scan[:-1]).all()) else torch.argsort(scan, stable=True)
        ascending = scan if order is None else scan[order]
        return _Groups(order, tuple(torch.unique_consecutive(ascending, return_counts=True)[1].tolist()))

    def gathered(self, tokens: Tensor) -> Tensor:
        return tokens if self.order is None else tokens.index_select(0, self.order)

    def scattered(self, tokens: Tensor) -> Tensor:
        return tokens if self.order is None else tokens.index_select(0, torch.argsort(self.order))


def _heads_apart(tokens: Tensor, heads: int) -> Tensor:
    return tokens.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, lengths: tuple[int, ...]) -> Tensor:
    """softmax(q kᵀ / √d) v inside every group; groups of one length go together.

    torch's fused kernel, forward + backward in ms of one core (Zen 5, float32), against the written-out form: 4 groups of 1024,
    width 128, 4 heads 95 : 197, 8 heads 115 : 331; one group of 4096, 4 heads 372 : 795, 8 heads 445 : 1325; width 512, 8 heads
    1253 : 1996.  It also keeps no t × t weights.  bfloat16 operands would gain 1.2 to 1.35 in it,
    :func:`scenewise.kernels.matmul.fast_exact_matmul` around a whole step gains 1.4 to 1.7.
    """
    if len(set(lengths)) == 1:
        q, k, v = (_heads_apart(part.unflatten(0, (len(lengths), -1)), heads) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1)
    attended = [
        F.scaled_dot_product_attention(_heads_apart(a, heads)[None], _heads_apart(b, heads)[None], _heads_apart(c, heads)[None])
        for a, b, c in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    ]
    return torch.cat([group[0].transpose(0, 1).flatten(1) for group in attended])


def _small(layer: nn.Linear, scale: float = 1.0) -> nn.Linear:
    """Normal, σ = 0.02 as in ViT and GPT-2, no bias: the layer starts close to the identity."""
    nn.init.normal_(layer.weight, std=0.02 * scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class VitLayer(nn.Module):
    """x + A(LN x), then x + MLP(LN x) with GELU (Dosovitskiy et al. 2020, arXiv 2010.11929)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        inner = mlp_ratio * dim
        shrink = (2 * depth) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = _small(nn.Linear(dim, 3 * dim)), _small(nn.Linear(dim, dim), shrink)
        self.up, self.down = _small(nn.Linear(dim, inner)), _small(nn.Linear(inner, dim), shrink)

    def forward(self, tokens: Tensor, lengths: tuple[int, ...], code: Tensor | None) -> Tensor:
        """Tokens [t, dim] in the groups' order; ``code`` is added where queries and keys are made, never to values."""
        normed = self.norm1(tokens)
        if code is None:
            q, k, v = self.qkv(normed).chunk(3, dim=-1)
        else:
            dim = tokens.shape[-1]
            q, k = F.linear(normed + code, self.qkv.weight[: 2 * dim], self.qkv.bias[: 2 * dim]).chunk(2, dim=-1)
            v = F.linear(normed, self.qkv.weight[2 * dim :], self.qkv.bias[2 * dim :])
        tokens = tokens + self.out(_attend(q, k, v, self.heads, lengths))
        return tokens + self.down(F.gelu(self.up(self.norm2(tokens))))


class PaperLayer(nn.Module):
    """Eq. 3 to the letter: one attention and one linear layer, each with a shortcut, nothing normalised."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_small(nn.Linear(dim, dim)) for _ in range(3))
        self.linear = _small(nn.Linear(dim, dim))

    def forward(self, tokens: Tensor, lengths: tuple[int, ...], code: Tensor | None) -> Tensor:
        """Arguments as of :meth:`VitLayer.forward`."""
        placed = tokens if code is None else tokens + code
        mixed = tokens + _attend(self.query(placed), self.key(placed), self.value(tokens), self.heads, lengths)
        return mixed + self.linear(mixed)

    def taken_apart(self, tokens: Tensor, seen: Tensor, code: Tensor | None = None) -> EquationThree:
        """The layer as eq. 3's right-hand side.

        Args:
            tokens: [t, dim].
            seen: bool [t, t], True where token n is seen by token m.
            code: position code [t, dim] or None.
        """
        placed = tokens if code is None else tokens + code
        q, k = _heads_apart(self.query(placed), self.heads), _heads_apart(self.key(placed), self.heads)
        weights = torch.softmax((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf), dim=-1)
        v = _heads_apart(self.value(tokens), self.heads)
        # v' of a head: (W + I) applied to its share of v's channels, the other channels being 0.
        plus_identity = self.linear.weight + torch.eye(tokens.shape[-1], dtype=tokens.dtype, device=tokens.device)
        values = torch.einsum("hnc,dhc->hnd", v, plus_identity.unflatten(1, (self.heads, -1)))
        return EquationThree(tokens @ plus_identity.T, weights, values, self.linear.bias)


class CorrelationTransformer(nn.Module):
    """f → f̂ for tokens of several scans.

    Intra-scene and inter-scene correlation are this module with ``across`` False and True.

    Args:
        dim: channels of a token.
        layers: how many.
        heads: of attention; divides ``dim``.
        mlp_ratio: inner width of the ViT form's MLP over ``dim``.
        layer_form: "vit": pre-norm; "paper": eq. 3 to the letter (``heads=1`` for its single w).
        position_code: None, or "xyz_fourier": sines and cosines of the position relative to the centre of the scan's tokens,
            added for queries and keys.  The paper names none.

    Raises:
        ConventionError: ``heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 3,
        heads: int = 8,
        mlp_ratio: int = 4,
        layer_form: LayerForm = "vit",
        position_code: PositionCode | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConventionError("heads", expected=f"a divisor of dim = {dim}", got=heads)
        self.dim, self.position_code = dim, position_code
        made: list[VitLayer] | list[PaperLayer]
        if layer_form == "vit":
            made = [VitLayer(dim, heads, mlp_ratio, layers) for _ in range(layers)]
        elif layer_form == "paper":
            made = [PaperLayer(dim, heads) for _ in range(layers)]
        else:
            assert_never(layer_form)
        self.layers = nn.ModuleList(made)
        self.places = None if position_code is None else _small(nn.Linear(6 * len(WAVELENGTHS_M), dim, bias=False))

    def forward(
        self,
        tokens: Float[Tensor, "tokens dim"],
        scan: Int64[Tensor, "tokens"],
        *,
        across: bool,
        positions: Float[Tensor, "tokens 3"] | None = None,
    ) -> Float[Tensor, "tokens dim"]:
        """Tokens that have looked at others.

        Args:
            tokens: f.
            scan: which scan a token belongs to.
            across: whether tokens see those of other scans.
            positions: in metres; needed with a position code, ignored without.

        Raises:
            ConventionError: positions are missing.
        """
        if len(tokens) == 0:
            return tokens
        code = self._code(positions, scan)
        groups = _Groups.of(scan, across)
        inner = groups.gathered(tokens)
        code = None if code is None else groups.gathered(code)
        for layer in self.layers:
            inner = layer(inner, groups.lengths, code)
        return groups.scattered(inner)

    def taken_apart(
        self, tokens: Float[Tensor, "tokens dim"], scan: Int64[Tensor, "tokens"], *, across: bool, layer: int = 0
    ) -> EquationThree:
        """Layer number ``layer`` of the paper form, given ``tokens``, as eq. 3's right-hand side (no position code).

        Raises:
            ConventionError: the layers have another form.
        """
        chosen = self.layers[layer]
        if not isinstance(chosen, PaperLayer):
            raise ConventionError(
                "layer_form", expected="'paper'", got="'vit'", fix="only the paper's form factors as in its eq. 3"
            )
        seen = torch.ones(len(scan), len(scan), dtype=torch.bool, device=scan.device) if across else scan[:, None] == scan[None]
        return chosen.taken_apart(tokens, seen)

    def _code(self, positions: Tensor | None, scan: Tensor) -> Tensor | None:
        if self.places is None:
            return None
        if positions is None:
            raise ConventionError("positions", expected="one per token, as there is a position code", got=None)
        number, members = torch.unique(scan, return_inverse=True)
        sums = positions.new_zeros(len(number), 4).index_add_(0, members, F.pad(positions, (0, 1), value=1.0))
        local = positions - (sums[:, :3] / sums[:, 3:])[members]
        angles = local[:, :, None] * positions.new_tensor([2 * math.pi / length for length in WAVELENGTHS_M])
        return self.places(torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1).to(self.places.weight.dtype))

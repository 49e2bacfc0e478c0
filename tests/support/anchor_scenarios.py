"""Anchors and checks for the decoder that every backend must pass; the backend is an argument."""

from dataclasses import fields, replace

import torch

from scenewise.kernels.anchor_decoder import AnchorInput, Backend, DecodedChildren, DecoderHeads, decode, head_parameters

HEADS = tuple(field.name for field in fields(DecoderHeads))
LEAVES = ("offsets", "features", "log_scales")
OUTPUTS = ("means", "log_scales", "quats", "logit_opacities", "sh0", "differences")


def random_heads(inputs: int, hidden: int, slots: int, generator: torch.Generator) -> DecoderHeads:
    """Heads whose outputs are of order one."""
    sizes = (head_parameters(inputs, hidden, outputs) for outputs in (slots, 3 * slots, 7 * slots))
    return DecoderHeads(*(torch.randn(size, generator=generator) * 0.3 for size in sizes))


def random_anchors(
    n: int,
    visible: int,
    *,
    slots: int = 10,
    channels: int = 32,
    hidden: int = 32,
    teacher: bool = False,
    passes: bool = False,
    seed: int = 0,
) -> AnchorInput:
    """Anchors around the origin seen from outside, some of them decoded."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return AnchorInput(
        positions=normal(n, 3) * 2,
        offsets=normal(n, slots, 3),
        features=normal(n, channels),
        log_scales=normal(n, 6) * 0.5 - 2,
        rows=torch.randperm(n, generator=generator)[:visible].sort().values,
        center=torch.tensor([0.3, -4.0, 1.0]),
        heads=random_heads(channels + 3, hidden, slots, generator),
        teacher=random_heads(channels + 3, hidden, slots, generator) if teacher else None,
        teacher_passes_gradients=passes,
    )


def map_heads(heads: DecoderHeads | None, change: object) -> DecoderHeads | None:
    """Heads with a function applied to each."""
    return None if heads is None else DecoderHeads(*(change(getattr(heads, name)) for name in HEADS))  # type: ignore[operator]


def to_double(anchors: AnchorInput) -> AnchorInput:
    """The same numbers in float64."""
    arrays = {name: getattr(anchors, name).double() for name in (*LEAVES, "positions", "center")}
    heads = {name: map_heads(getattr(anchors, name), torch.Tensor.double) for name in ("heads", "teacher")}
    return replace(anchors, **arrays, **heads)  # type: ignore[arg-type]


def with_gradients(anchors: AnchorInput) -> tuple[AnchorInput, dict[str, torch.Tensor]]:
    """Fresh leaves that require gradients, and a dictionary of them."""
    leaves = {name: getattr(anchors, name).detach().clone().requires_grad_() for name in LEAVES}
    weights = {name: getattr(anchors.heads, name).detach().clone().requires_grad_() for name in HEADS}
    return replace(anchors, **leaves, heads=DecoderHeads(**weights)), leaves | weights


def run(
    anchors: AnchorInput, backend: Backend, outputs: tuple[str, ...] = OUTPUTS, seed: int = 1
) -> tuple[DecodedChildren, dict[str, torch.Tensor]]:
    """Decode, pull random gradients back through outputs, return children and all gradients.

    Those of logits are weighted with the opacity: their derivative by the head's output is 1 + 1 / opacity, and rounding of an
    output near 0 would be all that is seen.
    """
    anchors, leaves = with_gradients(anchors)
    children = decode(anchors, backend)
    generator = torch.Generator().manual_seed(seed)
    loss = anchors.features.new_zeros(())
    for name in OUTPUTS:
        value = getattr(children, name)
        if value is None:
            continue
        weights = torch.randn(value.shape, generator=generator).to(value.dtype)
        if name == "logit_opacities":
            weights = weights * torch.sigmoid(value.detach())
        if name == "differences":
            weights = weights * len(anchors.rows)
        if name in outputs:
            loss = loss + (value * weights).sum()
    loss.backward()
    children = replace(children, **{name: None if (v := getattr(children, name)) is None else v.detach() for name in OUTPUTS})
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return children, gradients

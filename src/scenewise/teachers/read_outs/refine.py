"""Clean-up of class scores after a read-out: prompt denoising, key smoothing, local refinement by pixel affinity."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from scenewise.errors import ConventionError

REMOVED = -100.0
"""Score of a class that prompt denoising has removed."""


def prompt_denoising(
    scores: Float[Tensor, "batch patches classes"],
    *,
    threshold: float = 0.5,
    temperature: float = 100.0,
    groups: Int64[Tensor, "classes"] | None = None,
    always_kept: int | None = None,
) -> Float[Tensor, "batch patches classes"]:
    """Remove every class that is nowhere in the image more probable than the threshold.

    p = softmax(temperature · s) over classes; a class with max over patches p < threshold gets score −100 everywhere.  Comes
    before :func:`key_smoothing`.  Source: MaskCLIP, arXiv 2112.01071.

    Args:
        scores: cosines of all patches of an image (of the whole image: windows do not know what the others see).
        threshold: 0 removes nothing; 0.5 in the paper's configurations that use it.
        temperature: logit scale.
        groups: group of each column; the columns of a group are kept or removed together, by the most probable of them.
        always_kept: group that stays whatever its probability, such as the background.
    """
    highest = (temperature * scores).softmax(-1).amax(dim=1)
    if groups is not None:
        best = highest.new_zeros(len(highest), int(groups.max()) + 1)
        highest = best.scatter_reduce_(1, groups.expand(len(highest), -1), highest, "amax")[:, groups]
    removed = highest < threshold
    if always_kept is not None:
        removed &= (torch.arange(scores.shape[-1], device=scores.device) if groups is None else groups) != always_kept
    return scores.masked_fill(removed[:, None], REMOVED)


def key_weights(keys: Float[Tensor, "batch patches width"]) -> Float[Tensor, "batch patches patches"]:
    """w_ij = max(cos(k_i, k_j), 0), rows divided by their sums; a key of zeros has no neighbour, not even itself."""
    unit = functional.normalize(keys, dim=-1)
    weights = (unit @ unit.transpose(1, 2)).clamp(min=0.0)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)


def key_smoothing(
    probabilities: Float[Tensor, "batch patches classes"],
    keys: Float[Tensor, "batch patches width"],
    *,
    threshold: float = 1.0,
    legacy_axis: bool = False,
) -> Float[Tensor, "batch patches classes"]:
    """Uncertain patches take over what patches with similar keys say.

    p_i ← Σ_j w_ij p_j where max p_i < threshold; w_ij = max(cos(k_i, k_j), 0), rows divided by their sums, so that results are
    probabilities again.  Source: MaskCLIP, arXiv 2112.01071.

    Args:
        probabilities: softmax over classes.
        keys: of the last block, :func:`scenewise.teachers.read_outs.attention.projected_keys`.
        threshold: 1 smooths (almost) everywhere, 0 nowhere.
        legacy_axis: as the released code: keys are divided by their norm over patches instead of channels, negative weights
            stay and rows are not normalised.  For comparison only; results are no probabilities.
    """
    if legacy_axis:
        unit = functional.normalize(keys, dim=1)
        weights = unit @ unit.transpose(1, 2)
    else:
        weights = key_weights(keys)
    unsure = probabilities.amax(-1, keepdim=True) < threshold
    return torch.where(unsure, weights @ probabilities, probabilities)


def smoothed_features(
    features: Float[Tensor, "batch rows columns dim"], keys: Float[Tensor, "batch rows columns width"]
) -> Float[Tensor, "batch rows columns dim"]:
    """Key smoothing where no classes are known yet: f_i ← Σ_j w_ij f_j/‖f_j‖ with the weights of :func:`key_smoothing`.

    A departure from MaskCLIP, which averages the probabilities of a list of classes: they are a softmax of cosines, so averages
    of features and of probabilities differ, and there is no probability to say which patches are unsure, so all are smoothed
    (the paper's threshold of 1).  In return the features serve every later question.

    Args:
        features: of the patches of a window, of any length.
        keys: of the last block, :func:`scenewise.teachers.read_outs.attention.projected_keys`, on the same grid.

    Returns:
        Means of unit vectors, hence not longer than 1.
    """
    unit = functional.normalize(features.flatten(1, 2), dim=-1)
    return (key_weights(keys.flatten(1, 2)).to(unit) @ unit).unflatten(1, features.shape[1:3])


_CLASSES_AT_ONCE = 16  # copies of so many are in memory, however many there are
_AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]


def pixel_adaptive_refinement(
    images: Float[Tensor, "batch channels height width"],
    field: Float[Tensor, "batch classes height width"],
    *,
    steps: int = 10,
    dilations: tuple[int, ...] = (8, 16),
) -> Float[Tensor, "batch classes height width"]:
    """PAMR: every pixel repeatedly becomes a mean of its eight neighbours per dilation, weighted by likeness of colour.

    w_j = softmax_j(mean over channels of −|I_i − I_j| / (0.1·σ_i + 1e-8)), σ_i the standard deviation of the neighbourhood with
    the centre once per dilation; borders are repeated.  Source: Araslanov and Roth 2020, arXiv 2005.08104, and its released
    code; steps and dilations as in NACLIP's code.

    Args:
        images: of the size of the field; any linear colour scale (weights do not change with it).
        field: logits or probabilities; means of neighbours stay within the range of the values.
        steps: 0 returns the field as it is.
        dilations: distances to the neighbours in pixels.

    Raises:
        ConventionError: steps below 0, no dilation, or one below 1.
    """
    if steps < 0 or not dilations or min(dilations) < 1:
        raise ConventionError("PAMR", expected="steps ≥ 0 and dilations ≥ 1", got=f"steps {steps}, dilations {dilations}")
    height, width = images.shape[-2:]
    reach = max(dilations)
    shifts = [(distance * row, distance * column) for distance in dilations for row, column in _AROUND]

    def shifted(values: Float[Tensor, "batch any height width"]) -> list[Float[Tensor, "batch any height width"]]:
        padded = functional.pad(values, (reach, reach, reach, reach), mode="replicate")
        return [
            padded[..., reach + down : reach + down + height, reach + right : reach + right + width] for down, right in shifts
        ]

    around = torch.stack(shifted(images))
    spread = torch.cat([around, images[None].expand(len(dilations), *images.shape)]).std(dim=0)
    weights = (-(around - images).abs() / (0.1 * spread + 1e-8)).mean(dim=2, keepdim=True).softmax(dim=0)
    if steps == 0:
        return field
    answer = torch.empty_like(field)
    for some, out in zip(field.split(_CLASSES_AT_ONCE, dim=1), answer.split(_CLASSES_AT_ONCE, dim=1), strict=True):
        part = some
        for _ in range(steps):
            refined = torch.zeros_like(part)
            for weight, neighbour in zip(weights, shifted(part), strict=True):
                refined.addcmul_(weight, neighbour)
            part = refined
        out.copy_(part)
    return answer

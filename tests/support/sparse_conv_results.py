"""What the compiled sparse convolution gives, in this process or, as a program, in one of another instruction set.

python -m tests.support.sparse_conv_results GIVEN.pt RESULT.pt
"""

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import native


def sparse_conv_results(given: Mapping[str, Tensor]) -> list[Tensor]:
    """Maps and rules (whole numbers), then a product and a gradient (floats) of "points", "features" and "weight"."""
    coords, _, counts = native.sorted_voxels(given["points"])
    coarse, parent, child = native.down_voxels(coords)
    rule = native.submanifold_rule(coords)
    features = given["features"][: len(coords)]
    out = native.convolve(features, given["weight"], rule, transposed=False, mirrored=False, bfloat16=False)
    gradient = native.weight_gradient(features, out, rule, bfloat16=False)
    return [coords, counts, coarse, parent, child, rule.inputs, rule.outputs, out, gradient]


if __name__ == "__main__":
    torch.save(sparse_conv_results(torch.load(sys.argv[1], weights_only=True)), sys.argv[2])
    print(library.describe().variant)

"""Convolution on occupied voxels only: submanifold 3³, strided 2³ and its inverse, with gradients."""

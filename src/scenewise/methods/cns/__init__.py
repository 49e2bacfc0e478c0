"""CNS (Chen et al. 2023): a 2D and a 3D student learn from noisy names, switch between each other's, and match frozen features."""

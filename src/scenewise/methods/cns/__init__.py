"""CNS (Chen et al. 2023): a 2D and a 3D student teach each other in spite of noisy names, and match frozen features."""

"""ConDense: 2D and 3D features that agree through volume rendering (Zhang et al., ECCV 2024)."""

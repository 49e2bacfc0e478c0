"""HICL (Kang et al. 2024): names that agree within sets, between the sets of a scene and between scenes, then told to the 3D network."""

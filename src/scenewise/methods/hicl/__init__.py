"""HICL (Kang et al. 2024): names that agree in sets, within scenes and between scenes, told back to the 3D network."""

"""3D Gaussian splatting (Kerbl et al. 2023), with adaptive density control or as MCMC (Kheradmand et al. 2024)."""

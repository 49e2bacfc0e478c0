"""Momentum-GS: Fan et al. 2024, arXiv 2412.04887."""

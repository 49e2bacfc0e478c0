"""Distilled-3DGS: three teachers, one compact student, and a size dial (Xiang et al. 2025)."""

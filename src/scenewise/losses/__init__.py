"""Differentiable objectives."""

"""Rendering in domain words: Gaussians and a camera in, pictures out."""

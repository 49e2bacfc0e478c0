"""Poses, lenses and the depth camera of a capture that has them, made to fit its pictures."""

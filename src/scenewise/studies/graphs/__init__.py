"""Worlds and measurements of the study of scene graphs."""

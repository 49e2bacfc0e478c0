"""Procedural scenes with exact colour, depth, class and instance truth."""

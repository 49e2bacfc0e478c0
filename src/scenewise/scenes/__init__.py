"""Frozen records: what a scene is made of, with no reading, writing or computing beyond validation."""

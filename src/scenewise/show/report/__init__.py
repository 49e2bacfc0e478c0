"""The report of a scene: one self-contained page."""

"""Groups of elements, and what is decided in them: over-segmentation, votes, objects."""

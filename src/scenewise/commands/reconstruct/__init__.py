"""``scenewise reconstruct``."""

"""``scenewise diff``."""

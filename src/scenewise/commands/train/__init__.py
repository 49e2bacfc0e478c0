"""``scenewise train``."""

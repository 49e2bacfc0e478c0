"""``scenewise search``."""

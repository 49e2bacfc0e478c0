"""``scenewise predict``."""

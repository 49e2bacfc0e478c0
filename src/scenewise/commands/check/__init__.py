"""``scenewise check``."""

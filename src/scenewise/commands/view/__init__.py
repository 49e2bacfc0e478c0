"""``scenewise view``."""

"""``scenewise classify``."""

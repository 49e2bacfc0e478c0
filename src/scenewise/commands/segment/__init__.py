"""``scenewise segment``."""

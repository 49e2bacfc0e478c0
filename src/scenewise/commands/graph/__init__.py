"""``scenewise graph``."""

"""``scenewise export``."""

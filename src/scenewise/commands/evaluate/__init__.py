"""``scenewise eval``."""

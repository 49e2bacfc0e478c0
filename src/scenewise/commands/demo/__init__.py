"""``scenewise demo``."""

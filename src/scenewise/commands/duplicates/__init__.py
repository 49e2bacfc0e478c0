"""``scenewise duplicates``."""

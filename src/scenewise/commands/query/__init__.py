"""``scenewise query``."""

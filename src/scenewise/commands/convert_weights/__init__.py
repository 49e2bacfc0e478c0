"""``scenewise convert-weights``."""

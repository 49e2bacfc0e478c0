"""``scenewise features``."""

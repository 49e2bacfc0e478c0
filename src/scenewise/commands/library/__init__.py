"""``scenewise library``."""

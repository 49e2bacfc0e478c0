"""``scenewise poses``."""

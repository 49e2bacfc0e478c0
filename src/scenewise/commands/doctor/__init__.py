"""``scenewise doctor``."""

"""``scenewise eval-2d``."""

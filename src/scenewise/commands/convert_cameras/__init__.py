"""``scenewise convert-cameras``."""

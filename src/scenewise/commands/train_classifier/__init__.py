"""``scenewise train-classifier``."""

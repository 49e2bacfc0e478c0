"""``scenewise train-graph``."""

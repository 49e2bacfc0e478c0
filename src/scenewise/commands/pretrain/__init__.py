"""``scenewise pretrain``."""

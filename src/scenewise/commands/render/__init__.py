"""``scenewise render``."""

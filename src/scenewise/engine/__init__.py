"""Training loop services: checkpoints, progress, budgets, logging.  Knows protocols, never a method."""

"""Which room seeds serve what.  The ranges are disjoint, so no room is ever both learned from and measured on."""

TRAINING_SEEDS = range(1_000_000)
"""Rooms a network may be trained on."""

VALIDATION_SEEDS = range(1_000_000, 1_100_000)
"""Rooms on which settings are chosen."""

BENCHMARK_SEEDS = range(1_100_000, 1_200_000)
"""Rooms whose figures are reported."""

LEARNING_SEEDS = range(1_300_000, 1_400_000)
"""Rooms that 3D learners are trained on.  The embedded CLIP has seen none of them, so it knows them no better than others."""

DEMO_SEEDS = range(1_200_000, 1_200_100)
"""Rooms of ``scenewise demo`` and of the tests."""

DEFAULT_DEMO_SEED = DEMO_SEEDS[49]
"""A bedroom with a sitting corner in which every class occurs."""

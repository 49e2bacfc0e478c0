"""Which embedded model the figures belong to."""

import hashlib

from scenewise.teachers.small_clip import WEIGHTS


def weights_hash() -> str:
    """Of the embedded model; part of what decides an outcome."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]

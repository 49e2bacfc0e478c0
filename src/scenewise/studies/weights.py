"""Which embedded models the figures belong to."""

import hashlib
from pathlib import Path

from scenewise.teachers.small_clip import WEIGHTS


def weights_hash(path: Path = WEIGHTS) -> str:
    """Of an embedded model, by default the small CLIP; part of what decides an outcome."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

"""Numbers of what is written: the second it was begun in, and chance."""

import secrets
import time

_CHANCE_BITS = 31  # with the seconds, 63 bits: two writers of one second meet once in two thousand million times


def new_revision() -> int:
    """A number that no other writer has."""
    return int(time.time()) << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)


def age_seconds(revision: int) -> float:
    """How long ago a revision was begun."""
    return time.time() - (revision >> _CHANCE_BITS)

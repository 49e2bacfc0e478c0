"""Options of ``scenewise doctor``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DoctorOptions:
    """Report what this machine can do: versions, threads, instruction sets, which backend runs each kernel and why."""

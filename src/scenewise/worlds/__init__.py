"""Procedural worlds with exact truth: furnished rooms as ordinary captures, reproducible from a seed."""

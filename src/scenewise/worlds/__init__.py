"""Procedural worlds with exact truth: furnished rooms and small towns as ordinary captures, reproducible from a seed."""

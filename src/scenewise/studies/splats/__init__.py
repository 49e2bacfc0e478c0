"""Trainings of splats that several arms share."""

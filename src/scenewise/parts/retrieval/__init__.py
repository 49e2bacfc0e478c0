"""Scenes found again: by words, by a picture, by another capture of the same place."""

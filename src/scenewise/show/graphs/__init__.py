"""Scene graphs as pictures and words: over a view, from above, as sentences."""

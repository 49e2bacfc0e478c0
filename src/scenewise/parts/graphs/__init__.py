"""From a named scene to a graph: things, rooms, and what holds between them."""

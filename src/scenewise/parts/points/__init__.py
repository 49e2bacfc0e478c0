"""The points a reconstruction starts from: the capture's own, depth maps, or matches triangulated with the known cameras."""

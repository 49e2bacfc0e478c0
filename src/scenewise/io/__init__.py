"""Readers and writers: the only place that changes axes, units, quaternion order or label codes."""

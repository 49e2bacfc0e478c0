"""Scans as a training sees them: read, prepared once, kept in files."""

"""Opening whatever a person names."""

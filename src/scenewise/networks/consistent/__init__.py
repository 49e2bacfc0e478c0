"""A 2D and a 3D branch whose features lie in one space."""

"""Neural anchors as a field that is trained and rendered like explicit Gaussians."""

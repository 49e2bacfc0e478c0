"""Sources of regions in images: superpixels that need no model, and SAM."""

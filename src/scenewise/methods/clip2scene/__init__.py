"""CLIP2Scene (Chen et al. 2023): a sparse 3D network learns names from what a CLIP says about pixels.  The baseline."""

"""How the embedded small CLIP is trained: captions of procedural rooms, and nothing else."""

"""How the text tower of triplet sentences is trained: on captions with relations, and nothing else."""

"""SC-CLIP's names, HICL's three levels and CNS's switching between a 2D and a 3D student in one recipe, which nobody published."""

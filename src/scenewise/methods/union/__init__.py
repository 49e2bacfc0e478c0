"""SC-CLIP's names, HICL's three levels and CNS's switching in one recipe, which nobody published."""

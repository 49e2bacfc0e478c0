"""2D foundation models as sources of features and regions."""

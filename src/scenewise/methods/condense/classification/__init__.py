"""Classes of single objects from points: trained from scratch, or from the 3D branch of a pre-trained pair."""

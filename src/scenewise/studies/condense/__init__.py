"""What the study of ConDense measures."""

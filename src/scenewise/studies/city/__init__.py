"""What the study of Momentum-GS is made of."""

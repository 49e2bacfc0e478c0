"""What a person gets: check, reconstruct, render, evaluate, export, demo, doctor, report."""

"""Self-calibrated CLIP (Bai et al. 2024): dense open-vocabulary features from an image-level model, without training."""

"""Parts of every Gaussian method: parameter store, strategies, initial points, trainer."""

"""Teachers, figures and pictures of real captures."""

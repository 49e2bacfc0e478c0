"""``scenewise view``: look at a scene in a browser on the same machine.

What is shown (``contents``, ``colors``, ``painting``, ``legend``, ``answers``, ``viewpoints``) is computed without any viewer
library; ``server`` hands it to viser.
"""

"""``scenewise view``: look at a scene in a browser on the same machine.

What is shown (``contents``, ``painting``, ``legend``, ``finding``, ``viewpoints``, ``panel_text``) is computed without any viewer
library; ``placed`` and ``panel`` hand it to viser, and ``server`` carries out what a person chooses.
"""

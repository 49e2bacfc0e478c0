"""What the things of a room may be called."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "wall": ("wall",),
    "floor": ("floor", "ground"),
    "ceiling": ("ceiling",),
    "bed": ("bed",),
    "chair": ("chair",),
    "sofa": ("sofa", "couch"),
    "table": ("table", "desk"),
    "cabinet": ("cabinet", "cupboard", "wardrobe"),
    "bookshelf": ("bookshelf", "bookcase"),
    "door": ("door",),
    "window": ("window",),
    "picture": ("picture", "painting"),
    "lamp": ("lamp", "light"),
    "plant": ("plant",),
    "monitor": ("monitor", "screen"),
}
"""By the name of a class; the first is that name."""

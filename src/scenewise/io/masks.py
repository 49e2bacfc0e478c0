"""Masks of photographs that no list names: where tools put them, and what they are called."""

import os
import re
from pathlib import Path
from typing import final

MASK_FOLDERS = ("masks", "mask")
"""Beside the photographs, or beside their folder."""

_PHOTO_FOLDERS = re.compile(r"(images?|input|inputs|rgb|colou?rs?|frames|photos|photographs)(_\d+)?$", re.IGNORECASE)


@final
class MaskFinder:
    """Finds the mask of a photograph; each folder is listed once.

    For ``images/a/NAME.jpg`` these are looked for, in this order: ``masks/a/NAME.jpg.png`` (COLMAP), ``masks/a/NAME.png`` and
    ``masks/a/NAME.jpg``, with ``masks`` beside ``images`` or in it (for ``images_4``, ``masks_4`` first); then ``mask_NAME``
    beside the photograph, with the same endings.
    """

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, image_path: Path, name: str) -> Path | None:
        """The mask's path, or None.

        Args:
            image_path: of the photograph.
            name: of its frame: the part of the path below the capture or below its folder of photographs.
        """
        folders = list(image_path.parents)[: len(name.split("/")) + 1]
        for folder in folders:
            within = image_path.relative_to(folder)
            for place in self._mask_folders(folder):
                found = self._named(place / within.parent, image_path.name)
                if found is not None:
                    return found
        return self._named(image_path.parent, f"mask_{image_path.name}")

    def _mask_folders(self, photographs: Path) -> list[Path]:
        match = _PHOTO_FOLDERS.match(photographs.name)
        if match is None:
            return [photographs / folder for folder in MASK_FOLDERS]
        factor = match[2] or ""
        beside = [photographs.parent / f"{folder}{factor}" for folder in MASK_FOLDERS] if factor else []
        return [*beside, *(base / folder for base in (photographs.parent, photographs) for folder in MASK_FOLDERS)]

    def _named(self, folder: Path, name: str) -> Path | None:
        names = self._entries(folder)
        if not names:
            return None
        stem = os.path.splitext(name)[0]  # noqa: PTH122 - of a name, not of a path
        return next((folder / other for other in (f"{name}.png", f"{stem}.png", name) if other in names), None)

    def _entries(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

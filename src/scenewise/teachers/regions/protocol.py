"""What every source of image regions offers."""

from typing import Protocol, runtime_checkable

from scenewise.scenes.frames import ImageU8
from scenewise.scenes.partitions import Partition


@runtime_checkable
class RegionSource(Protocol):
    """Divides images into regions that rarely cross the border of an object."""

    @property
    def name(self) -> str:
        """What a person called it: "slic", "felzenszwalb", "sam:ID"."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when weights or any setting that changes the output does: the key under which regions are cached."""
        ...

    def regions(self, image: ImageU8) -> Partition:
        """A set per pixel, −1 where there is none.  The same image gives the same ids."""
        ...

"""Options of ``scenewise duplicates``."""

from dataclasses import dataclass

from scenewise.commands.scene_libraries import EVERY_SCENE, Filters, Place
from scenewise.engine.option_values import Count, OptionalPath, Text, require, require_at_least


@dataclass(frozen=True)
class DuplicatesOptions:
    """Find scenes of a library that were captured in one place, whatever has been moved there since.

    Attributes:
        library: folder, or place on object storage such as s3://bucket/name.
        least: score from which a pair is told: the share of their key points that meet their like when one lies on the other.
        teacher: the encoder of the library where it has moved: "condense:RUN".
        at: version of the library; scenewise library info --versions lists them.
        where: which scenes are compared.
        out: folder for duplicates.json and duplicates.png, a contact sheet.
        threads: worker threads; default all cores this process may use.
    """

    library: Place = None
    least: float = 0.5
    teacher: Text = None
    at: Count = None
    where: Filters = EVERY_SCENE
    out: OptionalPath = None
    threads: Count = None

    def __post_init__(self) -> None:
        require(0.0 <= self.least <= 1.0, "--least", "a number in [0, 1]", self.least)
        require_at_least("--threads", self.threads, 1)

"""Options of ``scenewise classify``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.commands.shared import Device
from scenewise.engine.option_values import Count, Number, OptionalPath, Text, require, require_at_least
from scenewise.teachers.choice import CONSISTENT, is_consistent


@dataclass(frozen=True)
class ClassifyOptions:
    """Name single objects from their points: by a trained classifier, or by words alone.  Needs no images.

    Attributes:
        clouds: point clouds or meshes of one object each (.ply, .las, .laz, .obj, .stl, .off, .glb).
        run: folder that scenewise train-classifier wrote, or its classifier.safetensors; without, words are compared.
        teacher: pre-trained networks that know words: "condense" (built in) or "condense:RUN" (a run of scenewise pretrain).
        classes: names separated by commas, synonyms by bars ("chair, table, sofa|couch"), or a file with a class per line;
            default the teacher's own list where it has one.  A run has classes of its own.
        top: so many names of each object, the most probable first.
        up: which axis of the files points up.
        size: length of the longest side in metres, where the files are in another unit.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    clouds: Positional[tuple[Path, ...]]
    run: OptionalPath = None
    teacher: str = CONSISTENT
    classes: Text = None
    top: int = 3
    up: Literal["z", "y"] = "z"
    size: Number = None
    threads: Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        require(bool(self.clouds), "CLOUDS", "at least one file", "none")
        expected = f'"{CONSISTENT}" or "{CONSISTENT}:RUN"'
        require(is_consistent(self.teacher), "--teacher", expected, repr(self.teacher))
        both = self.run is not None and self.classes is not None
        require(not both, "--run and --classes", "one of the two", "both", "a run has classes of its own")
        require_at_least("--top", self.top, 1)
        require(self.up in ("z", "y"), "--up", "z or y", repr(self.up))
        require(self.size is None or 0.0 < self.size < float("inf"), "--size", "metres above 0", self.size)
        require_at_least("--threads", self.threads, 1)

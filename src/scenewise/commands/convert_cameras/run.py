"""``scenewise convert-cameras``: cameras in torch's own format become COLMAP models, which loaders open."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.convert_cameras.options import ConvertCamerasOptions
from scenewise.engine.progress import NullProgress, Progress


@dataclass(frozen=True)
class ConvertedCameras:
    """What was written.

    Attributes:
        capture: the data set's folder.
        train: photographs to learn from.
        held_out: the others.
    """

    capture: Path
    train: int
    held_out: int

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.capture}: {self.train} cameras in train/sparse/0, {self.held_out} in val/sparse/0, without points; "
            f"open it with --preset mill19 or urban_scene3d"
        )


def convert_cameras_command(options: ConvertCamerasOptions, progress: Progress | None = None) -> ConvertedCameras:
    """Converts both sides of a data set; only tensors and numbers are read from it (``weights_only=True``).

    Raises:
        DataFormatError: a file is missing or holds something else, or a model is there and may not be replaced.
        ResourceError: the folder cannot be written.
    """
    from scenewise.commands.convert_cameras.mega_nerf import convert_mega_nerf

    progress = NullProgress() if progress is None else progress
    with progress.stage("convert"):
        counts = convert_mega_nerf(options.capture, replace=options.overwrite)
    return ConvertedCameras(options.capture, counts["train"], counts["val"])

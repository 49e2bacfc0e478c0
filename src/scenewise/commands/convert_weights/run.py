"""``scenewise convert-weights``: foreign checkpoints become files that can be opened without running them."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.convert_weights.options import ConvertWeightsOptions
from scenewise.engine.progress import NullProgress, Progress
from scenewise.io.atomic import disk_errors


@dataclass(frozen=True)
class ConvertSummary:
    """What was written.

    Attributes:
        folder: for ``--teacher``.
        bytes: of its files.
    """

    folder: Path
    bytes: int

    def text(self) -> str:
        """One line for people."""
        return f"{self.folder}: {self.bytes / 1e6:.1f} MB; use it with --teacher {self.folder}"


def convert_weights_command(options: ConvertWeightsOptions, progress: Progress | None = None) -> ConvertSummary:
    """Converts one checkpoint; only tensors are read from it (``weights_only=True``).

    Raises:
        DataFormatError: the file holds more than tensors, or not the weights of a CLIP.
        ResourceError: the folder cannot be written.
    """
    from scenewise.teachers.convert_weights import convert_hugging_face_checkpoint, convert_open_clip_checkpoint

    progress = NullProgress() if progress is None else progress
    with progress.stage("convert"), disk_errors(options.out):
        if options.checkpoint.is_dir():
            folder = convert_hugging_face_checkpoint(options.checkpoint, options.out)
        else:
            folder = convert_open_clip_checkpoint(options.checkpoint, options.out, tokenizer_from=options.tokenizer_from)
    return ConvertSummary(folder, sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

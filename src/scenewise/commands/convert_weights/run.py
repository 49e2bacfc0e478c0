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


@dataclass(frozen=True)
class LpipsSummary:
    """What was written of LPIPS.

    Attributes:
        file: for ``--lpips-weights``.
        bytes: of it.
    """

    file: Path
    bytes: int

    def text(self) -> str:
        """One line for people."""
        return f"{self.file}: {self.bytes / 1e6:.1f} MB; use it with --lpips-weights {self.file}"


def convert_weights_command(options: ConvertWeightsOptions, progress: Progress | None = None) -> ConvertSummary | LpipsSummary:
    """Converts one checkpoint; only tensors are read from it (``weights_only=True``).

    Raises:
        DataFormatError: the file holds more than tensors, or not the weights of a CLIP or of LPIPS.
        ResourceError: the folder or file cannot be written.
    """
    from scenewise.commands.convert_weights.lpips import convert_lpips_weights
    from scenewise.teachers.convert_weights import convert_hugging_face_checkpoint, convert_open_clip_checkpoint

    progress = NullProgress() if progress is None else progress
    with progress.stage("convert"), disk_errors(options.out):
        if options.lpips_heads is not None:
            file = convert_lpips_weights(options.checkpoint, options.lpips_heads, options.out)
            return LpipsSummary(file, file.stat().st_size)
        if options.checkpoint.is_dir():
            folder = convert_hugging_face_checkpoint(options.checkpoint, options.out)
        else:
            folder = convert_open_clip_checkpoint(options.checkpoint, options.out, tokenizer_from=options.tokenizer_from)
    return ConvertSummary(folder, sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

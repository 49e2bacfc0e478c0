"""Curves for TensorBoard, where it is installed and asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from scenewise.errors import MissingDependencyError


@final
class Board:
    """TensorBoard's files, or nothing.

    Args:
        writer: of torch, or None.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """A point of each curve.

        Args:
            step: where.
            figures: by tag.
        """
        if self._writer is None:
            return
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)


NO_BOARD = Board(None)
"""Draws nothing."""


@contextmanager
def tensorboard_of(folder: Path | None) -> Iterator[Board]:
    """A board that writes to a folder; one that does nothing without.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
    """
    if folder is None:
        yield NO_BOARD
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensorboard", needed_for="--tensorboard", extra="log") from error
    with SummaryWriter(str(folder)) as writer:
        yield Board(writer)

"""The errors Scenewise promises.

Every message answers five questions in the same order: which file or argument, which place in it, what was expected, what
was found, and what to do about it.  The command line prints the message and exits non-zero; it never shows a traceback for
these classes.
"""

from pathlib import Path


class ScenewiseError(Exception):
    """Base of every error that is the input's or the environment's fault rather than ours."""


def _sentence(subject: str, expected: str | None, got: object, fix: str | None) -> str:
    text = subject
    if expected is not None:
        text += f": expected {expected}"
    if got is not None:
        text += f", got {got}" if expected is not None else f": got {got}"
    if fix is not None:
        text += f". Fix: {fix}"
    return text


class ShapeError(ScenewiseError, ValueError):
    """An array has the wrong number of axes, length or dtype."""

    def __init__(self, argument: str, *, expected: str | None = None, got: object = None, fix: str | None = None) -> None:
        super().__init__(_sentence(argument, expected, got, fix))
        self.argument = argument


class ConventionError(ScenewiseError, ValueError):
    """A value has the right shape but breaks a convention: determinant −1, zero quaternion, depth that looks like millimetres."""

    def __init__(self, argument: str, *, expected: str | None = None, got: object = None, fix: str | None = None) -> None:
        super().__init__(_sentence(argument, expected, got, fix))
        self.argument = argument


class DataFormatError(ScenewiseError, ValueError):
    """A file cannot be read as what it claims to be.

    Args:
        path: the file or folder.
        place: the record, field, line or byte offset inside it ("" when the file as a whole is meant).
        expected: what a correct file has there.
        got: what was found.
        fix: what the user can do.
    """

    def __init__(
        self,
        path: str | Path,
        place: str = "",
        *,
        expected: str | None = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        subject = f"{path}: {place}" if place else str(path)
        super().__init__(_sentence(subject, expected, got, fix))
        self.path = Path(path)
        self.place = place


class ResourceError(ScenewiseError, RuntimeError):
    """Memory, disk or time would not suffice; raised before work starts whenever it can be known."""

    def __init__(self, resource: str, *, expected: str | None = None, got: object = None, fix: str | None = None) -> None:
        super().__init__(_sentence(resource, expected, got, fix))
        self.resource = resource


class MissingDependencyError(ScenewiseError, ImportError):
    """An optional package is needed for what was asked; the message holds the line that installs it."""

    def __init__(self, package: str, *, needed_for: str, extra: str | None = None) -> None:
        install = f'pip install "scenewise[{extra}]"' if extra else f"pip install {package}"
        super().__init__(f"{needed_for} needs the package {package}, which is not installed. Fix: {install}")
        self.package = package


class CaptureWarning(UserWarning):
    """Something in a capture is unusual but can be worked with: missing images, dropped frames, an assumed calibration.

    Args:
        message: what is unusual, with the file.
        fix: what the user can do; None where the message says it.
    """

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(_sentence(message, None, None, fix))
        self.message = message
        self.fix = fix

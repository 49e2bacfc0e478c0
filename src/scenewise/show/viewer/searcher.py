"""Who answers questions for the viewer."""

import tempfile
from pathlib import Path
from typing import Protocol, runtime_checkable

from scenewise.errors import ConventionError
from scenewise.io.images import read_image
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.scenes.heats import Heat


@runtime_checkable
class Searcher(Protocol):
    """Answers questions about a scene."""

    def heat(self, text: str) -> Heat:
        """How well every splat and point answers ``text``.

        Raises:
            ConventionError: no word of it is known.
        """
        ...


@runtime_checkable
class PictureSearcher(Protocol):
    """Answers questions by pictures as well, where its scene lets it."""

    @property
    def takes_pictures(self) -> bool:
        """Whether it can be asked with a picture."""
        ...

    def heat(self, text: str, picture: AskedPicture | None = None) -> Heat:
        """How well every splat and point answers words, a picture or both.

        Raises:
            ConventionError: no word is known, or pictures are not understood.
        """
        ...


def takes_pictures(searcher: Searcher | None) -> bool:
    """Whether somebody can be asked with a picture."""
    return isinstance(searcher, PictureSearcher) and searcher.takes_pictures


def answer(searcher: Searcher, text: str, picture: AskedPicture | None) -> Heat:
    """What a searcher says to words, a picture or both.

    Raises:
        ConventionError: as the searcher, or a picture for one who understands none.
    """
    if picture is None:
        return searcher.heat(text)
    if not isinstance(searcher, PictureSearcher):
        raise ConventionError(
            f"picture {picture.name}",
            expected="a scene whose teacher understands pictures",
            got="words alone",
            fix="ask in words",
        )
    return searcher.heat(text, picture)


def uploaded_picture(name: str, content: bytes) -> AskedPicture:
    """The picture in a file that a browser sent.

    Raises:
        DataFormatError: it is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{Path(name).suffix}"
        path.write_bytes(content)
        return AskedPicture(read_image(path), Path(name).name or "a picture")

"""Who answers questions for the viewer."""

from typing import Protocol, runtime_checkable

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

"""The words a scene is described with."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Vocabulary:
    """Class names and the phrases that stand for them.

    A class may be asked for with several phrases ("sofa", "couch"); its score is the largest of theirs.

    Attributes:
        names: one per class; position = class id.
        phrases: per class, what is put into the templates, at least one phrase each.
        templates: prompts with one ``{}``; their embeddings are averaged.
        colors_u8: one sRGB colour per class.
    """

    names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    colors_u8: tuple[Color, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ConventionError("class names", expected="at least one", got="none")
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ConventionError("class names", expected="each name once", got=f"{twice[0]!r} more than once")
        for what, values in (("phrases", self.phrases), ("colors_u8", self.colors_u8)):
            if len(values) != len(self.names):
                raise ConventionError(what, expected=f"{len(self.names)}, one per class", got=len(values))
        if not all(self.phrases):
            raise ConventionError("phrases", expected="at least one per class", got="a class without any")
        wrong = [template for template in self.templates if template.count("{}") != 1]
        if not self.templates or wrong:
            raise ConventionError("templates", expected="prompts with one {}", got=repr(wrong[0]) if wrong else "none")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def queries(self) -> tuple[str, ...]:
        """All phrases of all classes in order: the columns of a score table."""
        return tuple(phrase for group in self.phrases for phrase in group)

    @property
    def class_of_query(self) -> Int64[np.ndarray, "queries"]:
        """Class id of each entry of ``queries``."""
        return np.repeat(np.arange(len(self.names), dtype=np.int64), [len(group) for group in self.phrases])

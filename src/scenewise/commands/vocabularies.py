"""The classes that a person asks a teacher for."""

from pathlib import Path

from scenewise.errors import ConventionError
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.prompts import vocabulary_from_file, vocabulary_from_words
from scenewise.teachers.protocol import Teacher


def vocabulary_asked_for(classes: str | None, teacher: Teacher) -> Vocabulary:
    """The classes asked for: typed, from a file, or the teacher's own.

    Args:
        classes: names separated by commas with synonyms by bars, or a file; None takes the teacher's list.
        teacher: whose prompts they are put into.

    Raises:
        ConventionError: none of them.
    """
    templates = teacher.default_templates()
    if classes is not None:
        is_file = "," not in classes and "|" not in classes and Path(classes).is_file()
        return vocabulary_from_file(classes, templates) if is_file else vocabulary_from_words(classes, templates)
    own = teacher.vocabulary()
    if own is None:
        raise ConventionError(
            "--classes",
            expected="names, because this teacher knows any words and has no list of its own",
            got="none",
            fix='e.g. --classes "wall, floor, chair, sofa|couch"',
        )
    return own

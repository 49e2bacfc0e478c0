"""``classes.json``: the words a scene's labels were made with, and their colours."""

from pathlib import Path

import numpy as np

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.scenes.vocabularies import Vocabulary

VOCABULARY_FILE = "classes.json"

_FORMAT = "scenewise-classes"
_VERSION = 1


def write_vocabulary(path: str | Path, vocabulary: Vocabulary, *, teacher: str | None = None) -> None:
    """Class names, phrases, colours and prompts to a JSON file.

    Args:
        path: the file, usually ``classes.json`` in a scene folder.
        vocabulary: the position of a class is its id in the labels beside the file.
        teacher: name of the teacher the labels come from, for people.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    classes = [
        {"name": name, "phrases": list(phrases), "color": list(color)}
        for name, phrases, color in zip(vocabulary.names, vocabulary.phrases, vocabulary.colors_u8)
    ]
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "teacher": teacher,
        "templates": list(vocabulary.templates),
        "classes": classes,
    }
    atomic_write_json(Path(path), content)


def read_vocabulary(path: str | Path) -> tuple[Vocabulary, str | None]:
    """The vocabulary in a JSON file and the name of the teacher that used it, or None.

    Raises:
        DataFormatError: no such file, another format, a key that is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    top = read_json_object(path)
    if top.text("format") != _FORMAT:
        raise top.wrong("format", repr(_FORMAT), "another")
    if top.integer("version") > _VERSION:
        raise top.wrong("version", f"at most {_VERSION}", "a later one", "use a newer Scenewise")
    teacher = top.text("teacher", None)
    templates = top.texts("templates")
    names, phrases, colors = [], [], []
    for entry in top.objects("classes"):
        names.append(entry.text("name"))
        phrases.append(entry.texts("phrases"))
        color = entry.array("color", (3,))
        if (color != np.floor(color)).any() or color.min() < 0 or color.max() > 255:
            raise entry.wrong("color", "three whole numbers from 0 to 255", color.tolist())
        colors.append((int(color[0]), int(color[1]), int(color[2])))
        entry.finish()
    top.finish()
    try:
        return Vocabulary(tuple(names), tuple(phrases), templates, tuple(colors)), teacher
    except ConventionError as error:
        raise DataFormatError(path, got=str(error)) from error

"""A teacher's answers as files, so that any network in any program can be the teacher.

``DIR/teacher.json`` says what they are; ``DIR/<image stem>.safetensors`` holds the answer to one image, in the image's subfolder
where frames are named with one; ``DIR/text.safetensors`` optionally holds ``text_embeddings`` f32 [classes, dim]: beside features
of their ``dim``, beside probabilities and labels of any space, in which 3D networks then learn.

======================  ================================================================================================
key of teacher.json     meaning
======================  ================================================================================================
``kind``                ``features`` (f16 [h, w, dim]), ``probabilities`` (f16 [h, w, classes]) or ``labels`` (i16 [H, W])
``dim``                 columns of the features; need not be given for the other kinds
``text_space``          whose space features and text embeddings are of: a Hugging Face id, "small-clip", or null
``classes``             names of the columns, of the labels, or of the rows of ``text_embeddings``
``ignore``              label that means unknown, −1 unless given
``logit_scale``         factor before the softmax, 100 unless given
``templates``           prompts the text embeddings were made with, ["{}"] unless given
``unit_means``          whether features are unit vectors or means of such, to be used as they are; otherwise (false, the
                        default) every cell is scaled to unit length
``licence``             of the answers or of the weights that gave them, or null; written into the scenes they name
======================  ================================================================================================

The grid covers the whole undistorted image; the centre of cell i lies at (i + ½)·stride.  An optional ``confidence`` [h, w] in
[0, 1] says how sure a cell is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import read_json_object

TEACHER_FILE = "teacher.json"
TEXT_FILE = "text.safetensors"
TeacherFilesKind = Literal["features", "probabilities", "labels"]
_MAX_CLASSES = 32_767
_MAX_DIM = 1 << 16
_FLOATS = ("F16", "F32")
_INTEGERS = ("I16", "I32", "U8")
_ROUNDING = 2e-3  # of a probability stored as f16


@dataclass(frozen=True)
class TeacherFilesInfo:
    """What the files of a teacher hold.

    Attributes:
        kind: of the answers.
        dim: columns of the features, or classes.
        text_space: whose space features and text embeddings are of; None = no other's.
        classes: names of columns, labels or text embeddings.
        ignore: label that means unknown.
        logit_scale: factor before the softmax.
        templates: prompts of the text embeddings.
        unit_means: features are means of unit vectors and are used as they are.
        licence: of the answers or of the weights that gave them; None = unknown.
    """

    kind: TeacherFilesKind
    dim: int
    text_space: str | None = None
    classes: tuple[str, ...] = ()
    ignore: int = -1
    logit_scale: float = 100.0
    templates: tuple[str, ...] = ("{}",)
    unit_means: bool = False
    licence: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ConventionError("classes", expected="each name once", got=f"{len(self.classes)} with repetitions")
        if self.kind != "features" and not self.classes:
            raise ConventionError("classes", expected=f"a name per class, because the kind is {self.kind}", got="none")
        if self.kind != "features" and self.dim != len(self.classes):
            raise ConventionError("dim", expected=f"{len(self.classes)}, one per class", got=self.dim)
        if not 1 <= self.dim <= _MAX_DIM or len(self.classes) > _MAX_CLASSES:
            raise ConventionError("dim", expected=f"1 to {_MAX_DIM}", got=self.dim)
        if not self.logit_scale > 0.0:
            raise ConventionError("logit_scale", expected="a number above 0", got=self.logit_scale)


@dataclass(frozen=True)
class TeacherAnswer:
    """What a teacher's file says about one image.

    Attributes:
        values: features or probabilities [rows, columns, dim]; None for labels.
        labels: classes [rows, columns], −1 = unknown; None for the other kinds.
        confidence: in [0, 1] per cell, or None.
    """

    values: Float32[np.ndarray, "rows columns dim"] | None = None
    labels: Int32[np.ndarray, "rows columns"] | None = None
    confidence: Float32[np.ndarray, "rows columns"] | None = None

    def __post_init__(self) -> None:
        if (self.values is None) == (self.labels is None):
            raise ConventionError("TeacherAnswer", expected="values or labels", got="both or neither")
        grid = self.values.shape[:2] if self.values is not None else self.labels.shape if self.labels is not None else ()
        if self.confidence is not None and self.confidence.shape != grid:
            raise ShapeError("confidence", expected=f"{grid}, one per cell", got=f"{self.confidence.shape}")


def read_teacher_info(folder: str | Path) -> TeacherFilesInfo:
    """What ``teacher.json`` says.

    Raises:
        DataFormatError: no such folder or file, a key that is missing, unknown or does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataFormatError(folder, expected=f"a folder with {TEACHER_FILE}", got="a file" if folder.exists() else "nothing")
    path = folder / TEACHER_FILE
    top = read_json_object(path)
    kind = top.choice("kind", get_args(TeacherFilesKind))
    dim = top.integer("dim", None, minimum=1, maximum=_MAX_DIM)
    text_space = top.text("text_space", None)
    classes = top.texts("classes", None) or ()
    ignore = top.integer("ignore", -1, minimum=-(2**31), maximum=2**31 - 1)
    logit_scale = top.number("logit_scale", 100.0)
    templates = top.texts("templates", None) or ("{}",)
    unit_means = top.flag("unit_means", False)
    licence = top.text("licence", None)
    top.finish()
    if dim is None:
        if kind == "features":
            raise top.wrong("dim", "the number of columns of the features", "nothing")
        dim = len(classes)
    try:
        return TeacherFilesInfo(kind, dim, text_space, classes, ignore, logit_scale, templates, unit_means, licence)
    except ConventionError as error:
        raise DataFormatError(path, got=str(error)) from error


def write_teacher_info(folder: str | Path, info: TeacherFilesInfo) -> None:
    """Writes ``teacher.json``.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    content = {
        "kind": info.kind,
        "dim": info.dim,
        "text_space": info.text_space,
        "classes": list(info.classes),
        "ignore": info.ignore,
        "logit_scale": info.logit_scale,
        "templates": list(info.templates),
        "unit_means": info.unit_means,
        "licence": info.licence,
    }
    atomic_write_json(Path(folder) / TEACHER_FILE, content)


def answer_path(folder: str | Path, frame_name: str) -> Path:
    """Where the answer to a frame is: below ``folder`` as the image lies in its capture, its ending replaced.

    Raises:
        ConventionError: the name leads out of the folder, or is that of another file of the format.
    """
    name = PurePosixPath(frame_name.replace("\\", "/"))
    if not name.name or name.is_absolute() or ".." in name.parts or "\0" in frame_name:
        raise ConventionError("frame name", expected="a path below the images' folder", got=repr(frame_name))
    parts = name.with_suffix("")
    if str(parts) == Path(TEXT_FILE).stem:
        raise ConventionError(
            "frame name", expected="another name", got=repr(frame_name), fix=f"{TEXT_FILE} holds the embeddings"
        )
    return Path(folder) / f"{parts}.safetensors"


def find_answer(folder: str | Path, frame_name: str) -> Path | None:
    """The file with the answer to a frame: in the frame's subfolder, otherwise directly in the folder; None if there is none."""
    nested = answer_path(folder, frame_name)
    flat = Path(folder) / nested.name
    return nested if nested.is_file() else flat if flat.is_file() and nested.name != TEXT_FILE else None


def read_answer(path: str | Path, info: TeacherFilesInfo) -> TeacherAnswer:
    """The answer to one image.

    Raises:
        DataFormatError: not a safetensors file, without the kind's tensor, or with shapes, types or values that do not fit.
    """
    path = Path(path)
    kinds: dict[str, Sequence[str]] = {info.kind: _INTEGERS if info.kind == "labels" else _FLOATS, "confidence": _FLOATS}
    tensors = _read(path, kinds, required=info.kind)
    main, confidence = tensors[info.kind], tensors.get("confidence")
    wanted = 2 if info.kind == "labels" else 3
    if main.ndim != wanted or (wanted == 3 and main.shape[2] != info.dim) or 0 in main.shape:
        shape = "[height, width]" if wanted == 2 else f"[rows, columns, {info.dim}]"
        raise DataFormatError(path, info.kind, expected=f"the shape {shape}", got=list(main.shape))
    if confidence is not None:
        if confidence.shape != main.shape[:2]:
            raise DataFormatError(path, "confidence", expected=f"the shape {list(main.shape[:2])}", got=list(confidence.shape))
        confidence = _probabilities(path, "confidence", confidence)
    if info.kind == "labels":
        labels = np.where(main == info.ignore, -1, main.astype(np.int32)).astype(np.int32)
        if int(labels.min()) < -1 or int(labels.max()) >= len(info.classes):
            raise DataFormatError(
                path,
                "labels",
                expected=f"{info.ignore} or a class from 0 to {len(info.classes) - 1}",
                got=f"{int(main.min())} … {int(main.max())}",
                fix=f'name the number that means unknown in {TEACHER_FILE}: "ignore"',
            )
        return TeacherAnswer(labels=labels, confidence=confidence)
    if info.kind == "probabilities":
        return TeacherAnswer(values=_probabilities(path, "probabilities", main), confidence=confidence)
    values = main.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataFormatError(path, "features", expected="finite numbers", got="NaN or infinity", fix="0 stands for unknown")
    return TeacherAnswer(values=values, confidence=confidence)


def write_answer(folder: str | Path, frame_name: str, info: TeacherFilesInfo, answer: TeacherAnswer) -> Path:
    """Writes the answer to one image and returns the file's path.

    Raises:
        ShapeError: the answer has another number of columns than ``info`` says.
        ConventionError: an answer of another kind, or values that do not fit into the file's types.
        ResourceError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    path = answer_path(folder, frame_name)
    if (answer.labels is not None) != (info.kind == "labels"):
        raise ConventionError("answer", expected=info.kind, got="labels" if answer.labels is not None else "values")
    tensors: dict[str, np.ndarray] = {}
    if answer.labels is not None:
        if answer.labels.size and not (int(answer.labels.min()) >= -1 and int(answer.labels.max()) < len(info.classes)):
            raise ConventionError("labels", expected=f"−1 or a class from 0 to {len(info.classes) - 1}", got="others")
        tensors["labels"] = np.where(answer.labels < 0, info.ignore, answer.labels).astype(np.int16)
    elif answer.values is not None:
        if answer.values.shape[2] != info.dim:
            raise ShapeError("answer", expected=f"{info.dim} columns", got=answer.values.shape[2])
        if not (np.abs(answer.values) <= np.finfo(np.float16).max).all():  # false for NaN too
            raise ConventionError("answer", expected="numbers that fit into 16 bits", got="others")
        tensors[info.kind] = answer.values.astype(np.float16)
    if answer.confidence is not None:
        tensors["confidence"] = answer.confidence.astype(np.float16)
    atomic_write_bytes(path, save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))
    return path


def read_text_embeddings(folder: str | Path, info: TeacherFilesInfo) -> Float32[np.ndarray, "classes dim"] | None:
    """Unit text embedding per class, or None where there is no such file.

    Raises:
        DataFormatError: not one row per class, another dimension, or rows without direction.
    """
    path = Path(folder) / TEXT_FILE
    if not path.exists():
        return None
    rows = _read(path, {"text_embeddings": _FLOATS}, required="text_embeddings")["text_embeddings"].astype(np.float32)
    if not _fits(rows, info):
        raise DataFormatError(
            path,
            "text_embeddings",
            expected=f"the shape {_text_shape(info)}, a row per class of {TEACHER_FILE}",
            got=list(rows.shape),
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise DataFormatError(path, "text_embeddings", expected="rows with a direction", got="a zero or non-finite row")
    return rows / lengths


def write_text_embeddings(folder: str | Path, info: TeacherFilesInfo, rows: Float32[np.ndarray, "classes dim"]) -> None:
    """Writes ``text.safetensors``.

    Raises:
        ShapeError: not one row of the right length per class.
        ResourceError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    if not _fits(rows, info):
        raise ShapeError("text embeddings", expected=_text_shape(info), got=f"{list(rows.shape)}")
    atomic_write_bytes(Path(folder) / TEXT_FILE, save({"text_embeddings": np.ascontiguousarray(rows, dtype=np.float32)}))


def _fits(rows: np.ndarray, info: TeacherFilesInfo) -> bool:
    """Whether there is a row per class, as long as the features where the answers are such."""
    if rows.ndim != 2 or len(rows) != len(info.classes):
        return False
    return rows.shape[1] == info.dim if info.kind == "features" else 1 <= rows.shape[1] <= _MAX_DIM


def _text_shape(info: TeacherFilesInfo) -> str:
    return f"[{len(info.classes)}, {info.dim if info.kind == 'features' else 'dim'}]"


def _read(path: Path, kinds: Mapping[str, Sequence[str]], *, required: str) -> dict[str, np.ndarray]:
    """The tensors of a file that are asked for, their number types checked before they are loaded."""
    from safetensors import SafetensorError, safe_open

    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    tensors: dict[str, np.ndarray] = {}
    try:
        with safe_open(path, framework="numpy") as file:  # checks the header against the file's size
            names = set(file.keys())
            unknown = sorted(names - set(kinds))
            if required not in names or unknown:
                expected = (
                    required if len(kinds) == 1 else f"{required}, and perhaps {', '.join(sorted(set(kinds) - {required}))}"
                )
                raise DataFormatError(path, expected=f"the tensors {expected}", got=", ".join(sorted(names)) or "none")
            for name in sorted(names):
                number_type = file.get_slice(name).get_dtype()
                if number_type not in kinds[name]:
                    raise DataFormatError(path, name, expected=" or ".join(kinds[name]), got=number_type)
                tensors[name] = file.get_tensor(name)
    except SafetensorError as error:
        raise DataFormatError(path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged") from error
    return tensors


def _probabilities(path: Path, place: str, values: np.ndarray) -> Float32[np.ndarray, "*shape"]:
    numbers = values.astype(np.float32)
    if not ((numbers >= -_ROUNDING) & (numbers <= 1.0 + _ROUNDING)).all():  # false for NaN too
        raise DataFormatError(path, place, expected="numbers in [0, 1]", got="others", fix="0 everywhere stands for unknown")
    return np.clip(numbers, 0.0, 1.0)

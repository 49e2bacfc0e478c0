"""Products: things made once under a fingerprint, found again by whoever asks for the same, and never met half made.

A pipeline is a list of calls of :func:`made`.  Each reads what exists under its fingerprint, or lets its maker write beside the
place and renames, so a kill at any moment leaves nothing or the whole; the next run goes on where the last one stopped.  What a
product is called on the disk is told by its kind (:mod:`scenewise.io.product_kinds`).  Three forms:

*a file*
    written beside and renamed.  Its name ends in the first digits of its fingerprint.
*a folder*
    with a mark, a JSON file.  It is made beside and renamed; or made in place, when a long work keeps checkpoints there, and the
    mark, which comes last, says that it is finished.
*a claimed folder*
    whose mark comes first (:func:`claim`): what lies in it are products of their own, all under the fingerprint of the mark.

Two makers of one product do not hurt each other: the first to rename is kept by folders made beside, the last by files, whose
content is the same.  Only a folder that is made in place belongs to one maker at a time.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_folder, atomic_path, atomic_write_json, disk_errors, json_text, recover_folder
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.product_kinds import KINDS, FileKind, FolderKind, Kind, entries_of

Value = TypeVar("Value")
_PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Made(Generic[Value]):
    """What was asked for, and whether it was there.

    Attributes:
        value: the product.
        path: its file or folder.
        is_new: whether it was made now; False: found.
    """

    value: Value
    path: Path
    is_new: bool


@dataclass(frozen=True)
class Product:
    """A product on the disk.

    Attributes:
        kind: what it is.
        path: its file or folder.
        fingerprint: what it was made from: in full where its mark tells, else the digits in its name.
        num_bytes: of what belongs to it.
    """

    kind: Kind
    path: Path
    fingerprint: str
    num_bytes: int


def made(
    path: Path,
    kind: Kind,
    fingerprint: str,
    make: Callable[[Path], Mapping[str, Any] | None],
    read: Callable[[Path], Value],
) -> Made[Value]:
    """The product at ``path``: read where it exists under this fingerprint, else made and read.

    Args:
        path: its file (:meth:`FileKind.path` names it) or folder.
        kind: what it is.
        fingerprint: of everything that decides it.
        make: writes it to the file, or into the folder, that it is given.  What it returns goes into a folder's mark.
        read: gives its value; called with ``path`` only, whether it is new or not, so that both are the same.

    Raises:
        DataFormatError: what stands there is damaged, or none of ours.
        ConventionError: it was made from something else, and its kind is not replaced.
        ResourceError: the disk is full or the folder cannot be written.
    """
    found = find(path, kind, fingerprint, read)
    if found is not None:
        return Made(found, path, is_new=False)
    is_new = keep(path, kind, fingerprint, make)
    return Made(read(path), path, is_new)


def find(path: Path, kind: Kind, fingerprint: str, read: Callable[[Path], Value]) -> Value | None:
    """The product's value, or None where it has to be made; errors as in :func:`made`."""
    if isinstance(kind, FileKind):
        if not path.exists():
            return None
        try:
            return read(path)
        except DataFormatError:
            if kind.if_damaged == "again":
                return None
            raise
    return read(path) if _is_whole(path, kind, fingerprint) else None


def keep(path: Path, kind: Kind, fingerprint: str, make: Callable[[Path], Mapping[str, Any] | None]) -> bool:
    """Makes a product that was not found; errors as in :func:`made`.  False: somebody else was quicker, and theirs is kept."""
    if isinstance(kind, FileKind):
        with atomic_path(path) as beside:
            make(beside)
        return True
    if kind.in_place:
        _keep_in_place(path, kind, fingerprint, make)
        return True
    is_other = _holds_another(path, kind)
    try:
        with atomic_folder(path, replace=is_other) as beside:
            facts = make(beside) or {}
            files = {file.relative_to(beside).as_posix(): file.stat().st_size for file in _files_below(beside)}
            mark = {"product": kind.name, **_mark(kind, fingerprint, facts), **({"files": files} if kind.is_listed else {})}
            (beside / kind.mark).write_text(json_text(path / kind.mark, mark), encoding="utf-8")
            if is_other and _is_whole(path, kind, fingerprint):
                raise _TheirsIsThereError
    except (_TheirsIsThereError, DataFormatError):
        if _is_whole(path, kind, fingerprint):
            return False
        raise
    return True


def of_bytes(data: bytes) -> Callable[[Path], None]:
    """The maker of a file with this content."""

    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


class _TheirsIsThereError(Exception):
    """Leaves the block without a rename."""


def claim(folder: Path, kind: FolderKind, fingerprint: str, facts: Mapping[str, Any]) -> bool:
    """Claims a folder for products of one fingerprint; True where it was another's, whose products are dropped.

    Args:
        folder: made if need be.
        kind: one whose mark comes first.
        fingerprint: of what all products in it have in common.
        facts: go into the mark.

    Raises:
        ConventionError: it is another's, and the kind is not replaced.
        DataFormatError, ResourceError: see :func:`made`.
    """
    assert kind.mark_first, "other folders are marked when they are finished"
    if fingerprint_at(folder, kind) == fingerprint:
        return False
    _unmark(folder, kind)
    for file in _owned(folder, kind):
        file.unlink(missing_ok=True)
    atomic_write_json(folder / kind.mark, _mark(kind, fingerprint, facts))
    return True


def read_mark(folder: Path, kind: FolderKind) -> JsonFields | None:
    """What a folder's mark says, or None without one.

    Raises:
        DataFormatError: it is damaged, and products of this kind are not made again.
    """
    path = folder / kind.mark
    if not path.exists():
        return None
    try:
        return read_json_object(path)
    except DataFormatError as error:
        if kind.if_damaged == "again":
            return None
        raise DataFormatError(
            path, expected=f"the mark of a finished {kind.name}", got=str(error), fix=f"delete {folder}; it is made again"
        ) from error


def fingerprint_at(folder: Path, kind: FolderKind) -> str | None:
    """What the product in a folder was made from, or None without one; errors as in :func:`read_mark`."""
    mark = read_mark(folder, kind)
    try:
        return None if mark is None else kind.fingerprint_in(mark)
    except DataFormatError:
        if kind.if_damaged == "again":
            return None
        raise


# --------------------------------------------------------------------------------------------------- list, verify, drop


def products_in(folder: Path) -> list[Product]:
    """All finished products below a folder, in the order of their paths; what a claimed folder holds is one product."""
    if not folder.is_dir():
        return []
    found = [product for place in sorted([folder, *_folders_below(folder)]) for product in _products_at(place)]
    return sorted(found, key=lambda product: product.path)


def files_in(folder: Path, kind: FileKind) -> list[Product]:
    """The files in a folder that are named like this kind, damaged ones included; no file is opened."""
    if not folder.is_dir():
        return []
    named = [(path, digits) for path in sorted(folder.iterdir()) if (digits := kind.digits(path)) is not None]
    return [Product(kind, path, digits, path.stat().st_size) for path, digits in named if not path.name.startswith(".")]


def verify(product: Product) -> None:
    """Makes sure that a product is whole.

    Raises:
        DataFormatError: a file is missing, cut short or damaged, or the mark tells of another fingerprint.
    """
    kind = product.kind
    if isinstance(kind, FileKind):
        _verify_file(product.path)
        return
    mark = read_mark(product.path, kind)
    if mark is None or kind.fingerprint_in(mark) != product.fingerprint:
        raise DataFormatError(
            product.path / kind.mark, expected=f"the mark of {product.fingerprint[:16]}", got="another, or none", fix="drop it"
        )
    _require_files(product.path, kind, mark)
    for file in _owned(product.path, kind):
        _verify_file(file)


def drop(product: Product) -> None:
    """Deletes a product; its mark goes first, so that a kill leaves nothing that looks whole.

    Raises:
        ResourceError: it may not be deleted.
    """
    kind, path = product.kind, product.path
    with disk_errors(path):
        if isinstance(kind, FileKind):
            path.unlink(missing_ok=True)
            return
        _unmark(path, kind)
        if "*" in kind.owns:
            shutil.rmtree(path, ignore_errors=True)
            return
        for file in _owned(path, kind):
            file.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------- folders


def _is_whole(folder: Path, kind: FolderKind, fingerprint: str) -> bool:
    """Whether the finished product of this fingerprint is there; errors as in :func:`made`."""
    if not kind.in_place and not recover_folder(folder):
        return False
    there = fingerprint_at(folder, kind)
    if there is not None and there != fingerprint and kind.if_other == "refuse":
        raise ConventionError(
            f"{kind.name} in {folder}",
            expected=f"what was made from {fingerprint[:16]}",
            got=f"one made from {there[:16]}",
            fix="choose another folder, or delete it",
        )
    if there != fingerprint:
        return False
    mark = read_mark(folder, kind)
    assert mark is not None, "it has a fingerprint"
    _require_files(folder, kind, mark)
    return True


def _require_files(folder: Path, kind: FolderKind, mark: JsonFields) -> None:
    needed = dict.fromkeys(kind.needs) | (mark.mapping("files") if kind.is_listed else {})
    for name, size in needed.items():
        path = folder / name
        got = path.stat().st_size if path.is_file() else None
        if got is None or (got != size if size is not None else got == 0):
            raise DataFormatError(
                path,
                expected=f"a file of this {kind.name}" if size is None else f"{size:,} bytes",
                got="nothing" if got is None else f"{got:,} bytes",
                fix=f"delete {folder}; it is made again",
            )


def _keep_in_place(folder: Path, kind: FolderKind, fingerprint: str, make: Callable[[Path], Mapping[str, Any] | None]) -> None:
    """Makes a product where it will be.  Its mark comes last; one that tells of something else goes first."""
    _unmark(folder, kind)
    facts = make(folder) or {}
    atomic_write_json(folder / kind.mark, _mark(kind, fingerprint, facts))
    for name in kind.workplace:
        shutil.rmtree(folder / name, ignore_errors=True)


def _mark(kind: FolderKind, fingerprint: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"fingerprint": fingerprint, **facts} if kind.is_stated else dict(facts)


def _unmark(folder: Path, kind: FolderKind) -> None:
    with disk_errors(folder / kind.mark):
        (folder / kind.mark).unlink(missing_ok=True)


def _holds_another(folder: Path, kind: FolderKind) -> bool:
    """Whether a product of this kind is there that is to be replaced; anything else that is there is refused."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if (folder / kind.mark).is_file():
        return True
    raise DataFormatError(
        folder, expected=f"a new or empty folder, or a {kind.name}", got="other content", fix="choose another folder"
    )


def _owned(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """Files that belong to the product, its mark apart."""
    files = _files_below(folder) if "*" in kind.owns else (path for pattern in kind.owns for path in folder.glob(pattern))
    return (path for path in files if path != folder / kind.mark)


def _files_below(folder: Path) -> Iterator[Path]:
    return (Path(parent) / name for parent, _, names in os.walk(folder) for name in sorted(names))


def _folders_below(folder: Path) -> Iterator[Path]:
    for parent, names, _ in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]  # temporaries
        yield from (Path(parent) / name for name in names)


# --------------------------------------------------------------------------------------------------------------- files


def _products_at(folder: Path) -> Iterator[Product]:
    """The product that a folder is, and the files directly in it that are one."""
    for kind in KINDS:
        if isinstance(kind, FolderKind) and (folder / kind.mark).is_file():
            fingerprint = fingerprint_at(folder, kind)
            if fingerprint is not None:
                size = sum(path.stat().st_size for path in [folder / kind.mark, *_owned(folder, kind)])
                yield Product(kind, folder, fingerprint, size)
    for kind in KINDS:
        if isinstance(kind, FileKind):
            yield from (product for product in files_in(folder, kind) if kind.is_kind_of(product.path))


def _verify_file(path: Path) -> None:
    """Makes sure that a file is whole, as far as its format tells without reading all of it."""
    if not path.is_file():
        raise DataFormatError(path, expected="a file", got="nothing", fix="make it again")
    if path.suffix in (".safetensors", ".json"):
        entries_of(path)
    elif path.suffix == ".png":
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(_PNG_END)))
            if file.read() != _PNG_END:
                raise DataFormatError(
                    path, expected="a whole picture", got="one that was cut short", fix="delete it; it is made anew"
                )

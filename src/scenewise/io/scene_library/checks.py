"""What a scene must be before a library takes it."""

import json
import re
from datetime import date

import numpy as np
from jaxtyping import Float

from scenewise.errors import ConventionError, ShapeError
from scenewise.io.scene_library.records import LibraryAbout, SceneFacts, SceneRows

_LONGEST_NAME = 200
_NORM_TOLERANCE = 1e-2  # float16 rounds each of the numbers by 5e-4 of itself
_JPEG = b"\xff\xd8"
_MOST_DIMS = 8192


def check_about(about: LibraryAbout) -> None:
    """Refuses what no library can be made of.

    Raises:
        ConventionError: no fingerprint, a dimension out of range, a class twice, or half of what other descriptors need.
    """
    if not about.fingerprint or not about.encoder:
        raise ConventionError("about", expected="name and fingerprint of the encoder", got="an empty text")
    for name, dim in (("dim", about.dim), ("other_dim", about.other_dim)):
        if dim is not None and not 1 <= dim <= _MOST_DIMS:
            raise ConventionError(f"about.{name}", expected=f"1 to {_MOST_DIMS}", got=dim)
    if (about.other_encoder is None) != (about.other_dim is None):
        raise ConventionError("about", expected="other_encoder and other_dim, or neither", got="one of them")
    if len(set(about.class_names)) != len(about.class_names):
        raise ConventionError("about.class_names", expected="each class once", got="one of them twice")


def check_scene(rows: SceneRows, about: LibraryAbout) -> None:
    """Refuses rows that do not fit into the library.

    Raises:
        ConventionError: another encoder, vectors that are not of unit length, numbers that are not finite, a class out of the
            vocabulary, a picture that is no JPEG, a name or date that is none.
        ShapeError: vectors of another dimension.
    """
    if rows.fingerprint != about.fingerprint:
        raise ConventionError(
            f"the encoder of {rows.facts.name!r}",
            expected=f"{about.encoder} with the fingerprint {about.fingerprint}, as everything in this library",
            got=f"the fingerprint {rows.fingerprint}",
            fix="use the encoder of the library, or make a new library for this one",
        )
    _check_facts(rows.facts, about)
    _check_vectors("descriptor", rows.descriptor[None], about.dim)
    _check_vectors("views.descriptors", rows.views.descriptors, about.dim)
    _check_vectors("objects.features", rows.objects.features, about.dim)
    _check_vectors("key_points.features", rows.key_points.features, about.dim)
    if rows.views.other_descriptors is not None:
        if about.other_dim is None:
            raise ConventionError(
                "views.other_descriptors",
                expected="none, because this library was made without",
                got=f"{len(rows.views)} vectors",
                fix="make the library with other_encoder and other_dim",
            )
        _check_vectors("views.other_descriptors", rows.views.other_descriptors, about.other_dim)
    for name, numbers in (
        ("views.camera_from_world", rows.views.camera_from_world),
        ("views.K", rows.views.K),
        ("objects.centers_in_world", rows.objects.centers_in_world),
        ("objects.sizes", rows.objects.sizes),
        ("objects.colors", rows.objects.colors),
        ("objects.color_shares", np.zeros(0) if rows.objects.color_shares is None else rows.objects.color_shares),
        ("objects.confidences", rows.objects.confidences),
        ("key_points.positions_in_world", rows.key_points.positions_in_world),
        ("key_points.scores", rows.key_points.scores),
    ):
        if not np.isfinite(numbers).all():
            raise ConventionError(name, expected="finite numbers", got="NaN or infinity")
    _check_class_names("objects.class_names", rows.objects.class_names, about)
    names = 0 if rows.objects.color_shares is None else rows.objects.color_shares.shape[1]
    if names != len(about.color_names):
        raise ConventionError("objects.color_shares", expected=f"shares of {len(about.color_names)} names", got=names)
    for picture in (rows.thumbnail, *rows.views.thumbnails, *rows.objects.thumbnails):
        if picture and not picture.startswith(_JPEG):
            raise ConventionError("thumbnails", expected="JPEG files, or nothing", got=f"bytes that begin with {picture[:4]!r}")


def _check_facts(facts: SceneFacts, about: LibraryAbout) -> None:
    check_name(facts.name)
    if facts.date is not None and not _is_date(facts.date):
        raise ConventionError(f"date of {facts.name!r}", expected="year-month-day, such as 2025-03-28", got=repr(facts.date))
    if facts.scale not in ("metric", "arbitrary"):
        raise ConventionError(f"scale of {facts.name!r}", expected="metric or arbitrary", got=repr(facts.scale))
    if not (np.isfinite(facts.offset_in_source).all() and np.isfinite(facts.bounds_in_world).all()):
        raise ConventionError(f"offset and bounds of {facts.name!r}", expected="finite numbers", got="NaN or infinity")
    if not facts.content_hash:
        raise ConventionError(f"content_hash of {facts.name!r}", expected="the hash of its source", got="an empty text")
    _check_class_names("class_counts", tuple(facts.class_counts), about)
    try:
        json.dumps(dict(facts.provenance), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConventionError(f"provenance of {facts.name!r}", expected="what JSON holds", got=str(error)) from error


def check_name(name: str) -> None:
    """Refuses a name that would be none.

    Raises:
        ConventionError: empty, too long, with spaces around it or with control characters.
    """
    if not name or len(name) > _LONGEST_NAME or name != name.strip() or re.search(r"[\x00-\x1f\x7f]", name):
        raise ConventionError(
            "name of the scene",
            expected=f"1 to {_LONGEST_NAME} characters without control characters and without spaces around them",
            got=repr(name if len(name) <= _LONGEST_NAME else name[:40] + "…"),
        )


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"\d{4}-\d\d-\d\d", text) is not None and date.fromisoformat(text) is not None
    except ValueError:
        return False


def _check_class_names(argument: str, names: tuple[str, ...], about: LibraryAbout) -> None:
    unknown = sorted(set(names) - set(about.class_names)) if about.class_names else []
    if unknown:
        raise ConventionError(
            argument,
            expected=f"classes of the library ({', '.join(about.class_names[:8])}{', …' if len(about.class_names) > 8 else ''})",
            got=unknown[0],
            fix="make a new library for another vocabulary",
        )


def _check_vectors(argument: str, vectors: Float[np.ndarray, "n d"], dim: int) -> None:
    if vectors.shape[1] != dim:
        raise ShapeError(argument, expected=f"vectors of {dim} numbers, as in this library", got=vectors.shape[1])
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))  # of NaN too
    if len(wrong):
        raise ConventionError(argument, expected="vectors of length 1", got=f"length {norms[wrong[0]]:g} in row {wrong[0]}")

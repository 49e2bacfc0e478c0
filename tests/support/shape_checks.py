"""The checks behind the shape hook: jaxtyping's shapes and beartype's types, written when something is first called.

``--jaxtyping-packages=scenewise,tests.support.shape_checks.beartype_when_called`` makes jaxtyping put its decorator on every
function and record.  That decorator compares each call with the signature twice and binds it once in Python, for all functions
alike, which took more than half the time of a training under the hook.  Importing this module puts :func:`checked` in its
place.  It checks the same annotations, by one wrapper of beartype; only functions that name shapes open a scope for the sizes of
their axes.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError

_Function = Callable[..., Any]
_Signature = tuple[object, ...]

_ORIGINAL = jaxtyping.jaxtyped


class _WrongParameterError(TypeCheckError):
    """Raised inside by beartype."""


class _WrongResultError(TypeCheckError):
    """The same for what a function returns."""


_CHECKS = beartype(conf=BeartypeConf(violation_param_type=_WrongParameterError, violation_return_type=_WrongResultError))
_of_local_functions: dict[tuple[str, str, int], tuple[_Signature, _Function]] = {}
_are_on = True


@contextlib.contextmanager
def no_checks() -> Iterator[None]:
    """Nothing is checked meanwhile, as for somebody who uses the package."""
    global _are_on
    before, _are_on = _are_on, False
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        _are_on = before
        jaxtyping.config.update("jaxtyping_disable", not before)


def checked(decorated: Any = None, *, typechecker: Any = None) -> Any:
    """Stands in for ``jaxtyping.jaxtyped``: a module's function gets our checks, everything else jaxtyping's.

    Functions inside functions stay with jaxtyping: it checks them through a stand-in, which :func:`beartype_when_called` keeps,
    where a wrapper would have to be written anew each time the outer one runs.
    """
    if decorated is None:
        return functools.partial(checked, typechecker=typechecker)
    if dataclasses.is_dataclass(decorated):
        record: Any = decorated
        if not hasattr(record.__init__, "__wrapped__"):
            record.__init__ = checked(record.__init__, typechecker=typechecker)
        return record
    if not inspect.isfunction(decorated) or "<locals>" in decorated.__qualname__ or _makes_values_later(decorated):
        return _ORIGINAL(decorated, typechecker=typechecker)
    checks: _Function | None = None

    @functools.wraps(decorated)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal checks
        if not _are_on:
            return decorated(*args, **kwargs)
        if checks is None:
            checks = _with_checks(decorated)
        try:
            return checks(*args, **kwargs)
        except (_WrongParameterError, _WrongResultError) as error:
            what = "the parameters" if isinstance(error, _WrongParameterError) else "the return value"
            sizes = "\n".join(getattr(error, "__notes__", ()))
            raise TypeCheckError(f"Type-check error whilst checking {what} of {error}\n{sizes}") from None

    return call


def _with_checks(function: _Function) -> _Function:
    """``function`` with checks of what it is handed and what it returns."""
    if getattr(function, "__no_type_check__", False):
        return function
    _resolve_names(function)
    arrays = [array for annotation in function.__annotations__.values() for array in _arrays_in(annotation)]
    if any("{" in array.dim_str for array in arrays):  # a size said by an argument's value: jaxtyping has to bind the call
        return _ORIGINAL(_CHECKS(function), typechecker=None)
    with_types: _Function = _CHECKS(function)
    if not arrays:
        return with_types

    def in_a_scope(*args: Any, **kwargs: Any) -> Any:
        with _ORIGINAL("context"):
            return with_types(*args, **kwargs)

    return in_a_scope


def _resolve_names(function: _Function) -> None:
    """Annotations written as text become what they name; one that only a type checker can read is not checked."""
    names = vars(sys.modules[function.__module__])
    for key, annotation in list(function.__annotations__.items()):
        stand_in = typing.cast(Any, lambda: None)
        stand_in.__annotations__ = {"value": annotation}
        try:
            function.__annotations__[key] = typing.get_type_hints(stand_in, names, include_extras=True)["value"]
        except (NameError, AttributeError, TypeError):
            function.__annotations__[key] = Any


def _arrays_in(annotation: Any) -> list[type[AbstractArray]]:
    """The annotations of arrays inside ``annotation``, at any depth."""
    if isinstance(annotation, list | tuple):
        return [array for part in annotation for array in _arrays_in(part)]
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return [annotation]
    inside = getattr(annotation, "__value__", None)  # of ``type Name = …``
    return _arrays_in((*typing.get_args(annotation), *(() if inside is None else (inside,))))


def _makes_values_later(function: _Function) -> bool:
    """Whether the body runs after the call has returned: a generator or a coroutine."""
    return any(kind(function) for kind in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction))


def _signature(function: _Function) -> _Signature:
    """Everything checks depend on: the kinds and names of parameters, annotations, and defaults (the very objects)."""
    code = function.__code__
    kinds = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_varnames)
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return (*kinds, *function.__annotations__.items(), *map(id, defaults))


def _first_call_checks(function: _Function) -> _Function:
    checks: _Function | None = None

    def checked_call(*args: Any, **kwargs: Any) -> Any:
        nonlocal checks
        if checks is None:
            checks = beartype(function)
        return checks(*args, **kwargs)

    return checked_call


def beartype_when_called(function: _Function) -> _Function:
    """``function``, which jaxtyping made to carry a signature, with beartype's checks, which are written at its first call."""
    if "<locals>" not in function.__qualname__:
        return _first_call_checks(function)
    signature = _signature(function)
    # jaxtyping makes two of each: one for the parameters, one that is also handed the result by a keyword.
    key = (function.__module__, function.__qualname__, function.__code__.co_kwonlyargcount)
    known = _of_local_functions.get(key)
    if known is None or known[0] != signature:
        known = _of_local_functions[key] = (signature, _first_call_checks(function))
    return known[1]


jaxtyping.jaxtyped = checked  # type: ignore[assignment]

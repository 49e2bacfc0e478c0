"""The checker behind the shape hook: beartype, asked for only where something is called.

``--jaxtyping-packages=scenewise,tests.support.shape_checks.beartype_when_called`` makes jaxtyping hand every function's checks
to this.  Plain ``beartype.beartype`` writes and compiles the checks of every function at import, though a session calls a
fraction of them, and those of a function inside a function anew each time the outer one runs.  What is checked is the same.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype

_Signature = tuple[object, ...]
_of_local_functions: dict[tuple[str, str, int], tuple[_Signature, Callable[..., Any]]] = {}


def _signature(function: Callable[..., Any]) -> _Signature:
    """Everything checks depend on: the kinds and names of parameters, annotations, and defaults (the very objects)."""
    code = function.__code__
    kinds = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_varnames)
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return (*kinds, *function.__annotations__.items(), *map(id, defaults))


def _first_call_checks(function: Callable[..., Any]) -> Callable[..., Any]:
    checks: Callable[..., Any] | None = None

    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal checks
        if checks is None:
            checks = beartype(function)
        return checks(*args, **kwargs)

    return checked


def beartype_when_called(function: Callable[..., Any]) -> Callable[..., Any]:
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

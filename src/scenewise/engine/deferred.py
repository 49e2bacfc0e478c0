"""A function by its name, imported when it is called: tables of methods and commands load no torch."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """Calls a function of a module that is imported at the first call.

    Attributes:
        module: full name.
        function: its name in there.
    """

    module: str
    function: str

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        return getattr(import_module(self.module), self.function)(*arguments)

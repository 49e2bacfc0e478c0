"""A function or record by its name, imported when it is used: tables of methods and commands load no torch."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """Calls a function of a module that is imported at the first call, or makes a record of it.

    Attributes:
        module: full name.
        function: its name in there.
    """

    module: str
    function: str

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        return self.named()(*arguments)

    def named(self) -> Any:
        """What has that name."""
        return getattr(import_module(self.module), self.function)

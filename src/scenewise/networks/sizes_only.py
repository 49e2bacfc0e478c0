"""Networks whose sizes are wanted before anything of them is allocated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_KEEP_THE_SIZE = (Tensor.normal_, Tensor.uniform_, Tensor.__mul__, Tensor.mul)


@final
class _WithoutNumbers(TorchFunctionMode):
    """Nothing is drawn or scaled: on the meta device that would import torch's compiler, for seconds, and give no numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = {} if kwargs is None else kwargs
        if func in _KEEP_THE_SIZE or getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


@contextmanager
def sizes_only() -> Iterator[None]:
    """Modules made inside have sizes and no numbers."""
    with torch.device("meta"), _WithoutNumbers():
        yield

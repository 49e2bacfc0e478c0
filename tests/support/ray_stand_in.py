"""The few functions of Ray that jobs use, over threads of this process: so that they are tested where Ray is not installed."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from types import SimpleNamespace
from typing import Any


class RayStandIn(SimpleNamespace):
    """Stands for the module ``ray`` in ``sys.modules``; ``asked`` lists what was asked for, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._threads: ThreadPoolExecutor | None = None
        self.util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")

    def is_initialized(self) -> bool:
        return self._threads is not None

    def init(self, **settings: Any) -> None:
        assert self._threads is None, "Ray refuses to be started twice"
        self.asked.append(("init", settings))
        self._threads = ThreadPoolExecutor(max_workers=2)

    def remote(self, **settings: Any) -> Callable[[Callable[..., Any]], SimpleNamespace]:
        self.asked.append(("remote", settings))
        return lambda function: SimpleNamespace(remote=lambda *arguments: self._started().submit(function, *arguments))

    def _started(self) -> ThreadPoolExecutor:
        assert self._threads is not None, "Ray was not started"
        return self._threads

    def wait(
        self, references: Sequence[Future[Any]], *, num_returns: int, timeout: float
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """As Ray does: lists in the order of the references; at most ``num_returns`` of them are called done."""
        assert references and 0 < num_returns <= len(references), "Ray refuses anything else"
        done = wait_for(references, timeout=timeout).done
        ready = [reference for reference in references if reference in done][:num_returns]
        return ready, [reference for reference in references if reference not in ready]

    def get(self, reference: Future[Any]) -> Any:
        return reference.result()

    def cancel(self, reference: Future[Any], *, force: bool) -> None:
        self.asked.append(("cancel", {"force": force}))
        reference.cancel()

    def shutdown(self) -> None:
        self.asked.append(("shutdown", {}))
        self._started().shutdown(cancel_futures=True)
        self._threads = None

"""Where the processes of a run find each other: a small store that the first of them keeps."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch says nothing of what it exports

from scenewise.errors import ResourceError

PATIENCE = timedelta(hours=12)
"""The first rank may ask a large teacher about every picture, or train a whole coarse model, while the others wait."""
_CONNECTION = timedelta(minutes=10)  # between processes that a person starts by hand
_POLL_SECONDS = 0.05
_INTERFACE = "GLOO_SOCKET_IFNAME"


def open_store(address: str, port: int = 0) -> TCPStore:
    """The store of rank 0.

    Args:
        address: of this machine as the others see it.
        port: to listen at; 0: one that is free, which the store then tells.

    Raises:
        ResourceError: the port is taken, or the address is not of this machine.
    """
    try:
        store = TCPStore(address, port, is_master=True, wait_for_workers=False, timeout=_CONNECTION)
    except RuntimeError as error:
        raise ResourceError(f"{address}:{port}", expected="a free port here", got=str(error)[:200]) from error
    store.set_timeout(PATIENCE)
    return store


def enter_store(address: str, port: int, rank: int) -> TCPStore:
    """The same store as another rank sees it, which says there that it has come.

    Raises:
        ResourceError: nobody answers.
    """
    try:
        store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=_CONNECTION)
    except RuntimeError as error:
        raise ResourceError("the first rank", expected=f"an answer at {address}:{port}", got=str(error)[:200]) from error
    store.set_timeout(PATIENCE)
    store.set(_name(rank), "")
    return store


def await_ranks(store: TCPStore, size: int, while_waiting: Callable[[], None] = lambda: None) -> None:
    """Returns on rank 0 when all the others have come.

    Args:
        store: of :func:`open_store`.
        size: how many ranks there are.
        while_waiting: called again and again; what it raises ends the waiting.
    """
    # Torch's own waiting ends neither with Ctrl-C nor when it is known that somebody will never come.
    names = [_name(rank) for rank in range(1, size)]
    while not store.check(names):
        while_waiting()
        time.sleep(_POLL_SECONDS)


def _name(rank: int) -> str:
    return f"scenewise/rank {rank} is here"


@contextmanager
def reachable_interface(address: str, port: int) -> Iterator[None]:
    """Within the block gloo listens where the first rank's machine reaches this one, unless the environment says where.

    Left to itself it listens at what the name of the machine stands for, which on many is an address that no other machine
    reaches; they would wait for each other for hours.

    Args:
        address: of the first rank.
        port: any of its ports.
    """
    name = None if os.environ.get(_INTERFACE) else interface_towards(address, port)
    if name is None:
        yield
        return
    os.environ[_INTERFACE] = name
    try:
        yield
    finally:
        os.environ.pop(_INTERFACE, None)


def interface_towards(address: str, port: int) -> str | None:
    """Name of the network interface by which an address is reached; None where the system does not tell."""
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing
            own = socket.inet_aton(probe.getsockname()[0])
            for _, name in socket.if_nameindex():
                if _address_of(probe, name, fcntl.ioctl) == own:
                    return name
    except (ImportError, AttributeError, OSError):
        pass
    return None


def _address_of(probe: socket.socket, interface: str, ioctl: Callable[[int, int, bytes], bytes]) -> bytes | None:
    """IPv4 address of an interface, or None without any."""
    asked = interface.encode()[:15].ljust(256, b"\0")
    try:
        return ioctl(probe.fileno(), 0x8915, asked)[20:24]  # SIOCGIFADDR of Linux; the address of struct ifreq begins at 20
    except OSError:
        return None

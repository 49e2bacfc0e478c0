"""Where the viewer listens, and viser's server kept quiet and to this machine."""

import ipaddress
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scenewise.errors import MissingDependencyError, ResourceError


def started_server(host: str, port: int) -> Any:
    """A server of viser that listens on ``port``, 0 for a free one; anything but this machine's own address warns.

    Raises:
        MissingDependencyError: viser is not installed.
        ResourceError: the port is in use or the address is not this machine's.
    """
    viser = import_viser()
    if not is_loopback(host):
        warnings.warn(f"listening on {host}: everybody who reaches this machine can see the scene", stacklevel=3)
    require_free_port(host, port)
    with _quiet_viser():
        server: Any = viser.ViserServer(host=host, port=port, verbose=False)
    if port not in (0, int(server.get_port())):  # taken between our check and viser's turn; it then moves on by itself
        stop_server(server)
        raise _port_taken(host, port)
    server.request_share_url = _refuse_to_share
    return server


def stop_server(server: Any) -> None:
    """Stops listening."""
    with _quiet_viser():
        server.stop()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free_port(host: str, port: int) -> None:
    """Raises ResourceError unless ``port`` can be listened on; 0 always can."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise ResourceError("--host", expected="an address of this machine", got=f"{host!r}") from error
    except OverflowError as error:
        raise ResourceError("--port", expected="a number from 0 to 65535", got=port) from error
    except PermissionError as error:
        raise ResourceError(f"port {port}", expected="one that may be used", got="no permission", fix="--port 8080") from error
    except OSError as error:
        if error.errno is not None and "assign" in (error.strerror or "").lower():
            raise ResourceError("--host", expected="an address of this machine", got=f"{host!r}") from error
        raise _port_taken(host, port) from error


def _port_taken(host: str, port: int) -> ResourceError:
    return ResourceError(f"port {port} of {host}", expected="a free port", got="one in use", fix="--port 0 takes a free one")


def import_viser() -> Any:
    """The package, or MissingDependencyError with the line that installs it."""
    try:
        import viser
    except ModuleNotFoundError as error:
        raise MissingDependencyError("viser", needed_for="scenewise view", extra="viewer") from error
    return viser


@contextmanager
def _quiet_viser() -> Iterator[None]:
    """viser prints where it listens and that it stops; we say so ourselves."""
    from rich import get_console

    console = get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def _refuse_to_share(verbose: bool = True) -> None:
    """In place of viser's tunnel to a public server, which any browser could ask for."""

"""Runs an application on a port of this machine until a signal ends it."""

import errno
import ipaddress
import signal
import socket
from typing import Any, List

import uvicorn

from mlr.errors import InputError, RunError
from mlr.runtime.signals import Handled

LIKELY = {
    errno.EADDRINUSE: "; likely another program, such as another mlr serve, uses the port",
    errno.EACCES: "; ports below 1024 are reserved for the system",
}
SECONDS_TO_END = 5  # for running requests


def is_loopback(host: str) -> bool:
    """Tell whether an address can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. port: 0 for a free one.

    Raises InputError if the host is not an address of this machine, RunError if the port can't be
    used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except (socket.gaierror, UnicodeError):
        raise InputError(
            f"there is no host {host}: give --host an address of this machine, or leave it out"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"{host} is not an address of this machine: give --host an address of this "
                "machine, or leave it out"
            ) from None
        likely = LIKELY.get(error.errno or 0, "")
        raise RunError(
            f"can't listen on {host}, port {port}: {error.strerror}{likely}: give another --port, "
            "0 for a free one"
        ) from None


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: Any, listening: socket.socket) -> None:
    """Answer requests until a signal comes; then the signal has its usual effect.

    Running requests get their answers first.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
    )
    hung_up: List[int] = []

    def end(number: int, _: Any) -> None:
        hung_up.append(number)
        server.should_exit = True

    # uvicorn only handles SIGINT and SIGTERM. An exception from another signal handler, raised
    # during a request, would end that request but not the server.
    with Handled(end, [signal.SIGHUP]):
        server.run(sockets=[listening])
    for number in hung_up[:1]:
        signal.raise_signal(number)

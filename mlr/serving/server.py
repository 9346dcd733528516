"""An application on a port of this machine, until a signal ends it."""

import errno
import ipaddress
import signal
import socket
from typing import Any, List

import uvicorn

from mlr.errors import InputError, RunError
from mlr.runtime.signals import Handled

LIKELY = {
    errno.EADDRINUSE: "; likely another program, such as another mlr serve, has the port",
    errno.EACCES: "; ports below 1024 are the system's",
}
SECONDS_TO_END = 5  # for the requests that are being answered


def is_loopback(host: str) -> bool:
    """Tell whether no other machine can reach a host's address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. port: 0 for a free one.

    Raises InputError for a host that is not this machine's, RunError where the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError):
        raise InputError(
            f"there is no host {host}: give --host an address of this machine, or leave it out"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"{host} is not an address of this machine: give --host one, or leave it out"
            ) from None
        likely = LIKELY.get(error.errno or 0, "")
        raise RunError(
            f"can't listen on {host}, port {port}: {error.strerror}{likely}: give another --port, "
            "0 for a free one"
        ) from None


def address_of(listening: socket.socket) -> str:
    """Return what to type into a browser for a socket that listens."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(app: Any, listening: socket.socket) -> None:
    """Answer until a signal comes, which then has the effect that it had outside.

    The requests that are being answered get their answers first.
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

    # uvicorn handles SIGINT and SIGTERM alone; an exception of another handler, raised while a
    # request is answered, would end that request and not the server.
    with Handled(end, [signal.SIGHUP]):
        server.run(sockets=[listening])
    for number in hung_up[:1]:
        signal.raise_signal(number)

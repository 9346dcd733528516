"""Checks every request: who may send it, and what a browser may do with the answer."""

import ipaddress
import socket
from typing import Any, Set
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from mlr.runtime.output import warn

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around another. Web sites in the user's browser can't send it requests,
    and a failure gives one line on this machine and JSON to the client.
    """

    def __init__(self, app: Any, host: str) -> None:
        """host: the address that the server listens on."""
        self._app = app
        self._names: Set[str] = {"localhost", socket.gethostname().lower(), host.lower()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; the arguments are ASGI's."""
        begun = False

        async def send_guarded(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refused(Headers(scope=scope))
        if refused:
            await refused(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception as error:
            cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            warn(f"{scope['method']} {scope['path']} failed: {cause}")
            if not begun:
                await _error(500, "failed", cause)(scope, receive, send_guarded)

    def _refused(self, headers: Headers) -> Any:
        """Return the refusal of a request from another web site, None if the request is allowed.

        The check of Host is against DNS rebinding: there a web site's own name leads to this
        machine, so the browser treats both as one site. That is impossible with an IP address. The
        check of Origin is against forms, and scripts that don't read the answer, which may send to
        any site: the browser then names the sending site.
        """
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self._is_own(host):
            return _error(
                400,
                "unknown host",
                "the request names a host that this server does not know: use the address that "
                "mlr serve printed",
            )
        if origin and origin.partition("://")[2] != host:
            return _error(
                403, "other site", "pages of other web sites may not send requests to this server"
            )
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _error(status: int, error: str, cause: str) -> JSONResponse:
    return JSONResponse({"error": error, "cause": cause}, status)

"""Who may ask, and what every answer says to browsers: looked at before a request's body is read.

Without a token the server listens to this machine only, and then a page of another site, opened in a browser here,
must not reach it either: neither under a name that points here (Host) nor from its own origin (Origin).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine that no other can use."""

_OPEN_PATHS = frozenset({"/", "/healthz", "/page.css", "/page.js"})  # nothing that tells of anybody's images
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def refusal(status: int, message: str, hint: str | None = None) -> JSONResponse:
    """Return an error as the answer of a request."""
    return JSONResponse({"error": {"message": message, "hint": hint}}, status_code=status)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Let requests through to the program, or answer them here.

    Attributes:
        app: The program.
        token: What every request must bring; None for this machine only.
    """

    app: ASGIApp
    token: str | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refused(scope["path"], Headers(scope=scope))
        await (refused or self.app)(scope, receive, send_with_headers)

    def _refused(self, path: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if self.token is None and _name_of(host) not in LOOPBACK:
            return refusal(421, "the server answers to the names of this machine only", "use http://127.0.0.1")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return refusal(403, "pages of other sites may not use this server")
        if self.token is not None and path not in _OPEN_PATHS:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                answer = refusal(401, "a token is needed", "send it as `Authorization: Bearer TOKEN`")
                answer.headers["WWW-Authenticate"] = "Bearer"
                return answer
        return None


def _name_of(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    parts: Sequence[str] = host.partition(":")
    return parts[0].lower()

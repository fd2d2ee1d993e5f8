"""Access to the server: every request but /health must carry the token; without a token, requests must be addressed to this machine.

Invariant: tokens are compared in constant time, and no response repeats one. No web page that is open in a browser of this machine can
send a request that has an effect, or read a response.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class RequireToken:
    """Refuses requests without the token. Plain ASGI: a middleware of Starlette's kind takes half the time of a quick step."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] != "/health":
            header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(_token_in(header), self._token):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                body = {"error": "a token is needed: send the header Authorization: Bearer <token>", "kind": "token"}
                await JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


class LocalRequestsOnly:
    """Refuses what a web page of another site makes a browser send to this machine, for a server without a token.

    Such a request has the header Origin, which browsers set, or, if the page's own name was made to resolve to this machine (DNS
    rebinding), that name as its Host.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (reason := _foreign(scope["headers"])):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await JSONResponse({"error": reason, "kind": "request"}, 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _foreign(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Why a request with these headers is refused, or None."""
    host = origin = None
    for name, value in headers:
        if name == b"host":
            host = value.lower()
        elif name == b"origin":
            origin = value.lower()
    if host is not None and _LOCAL_HOST.fullmatch(host) is None:
        return (
            f"the request is addressed to {ascii(host.decode('latin-1'))[:80]}; without a token this server answers to localhost, "
            "127.0.0.1 and [::1] only: use one of them, or start it with AGENTEVOL_TOKEN"
        )
    if origin is not None and (host is None or origin.partition(b"://")[2] != host):
        return "the request comes from a web page of another site (Origin), which is not allowed"
    return None


def _token_in(header: bytes) -> bytes:
    """The token in the header: Bearer, or the password of Basic, which is what a client sends to http://any:TOKEN@host."""
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() != b"basic":
        return rest if scheme == b"Bearer" else b""
    try:
        return base64.b64decode(rest, validate=True).partition(b":")[2]
    except ValueError:
        return b""

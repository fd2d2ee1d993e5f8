"""Access to the server: every request but /health must carry the token.

Invariant: tokens are compared in constant time, and no response repeats one.
"""

from __future__ import annotations

import base64
import hmac

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


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


def _token_in(header: bytes) -> bytes:
    """The token in the header: Bearer, or the password of Basic, which is what a client sends to http://any:TOKEN@host."""
    scheme, _, rest = header.partition(b" ")
    if scheme.lower() != b"basic":
        return rest if scheme == b"Bearer" else b""
    try:
        return base64.b64decode(rest, validate=True).partition(b":")[2]
    except ValueError:
        return b""

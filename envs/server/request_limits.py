"""Bounds on what a client may send, and on how long it may take: the size of a request's head and body, and the time to receive them.

Invariant: one connection holds at most a head, a body and uvicorn's buffers in memory, and a client that stops sending loses its
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BODY_BYTES = 2 * 2**20
MAX_BATCH_BYTES = 64 * 2**20
"""For /steps, which carries many answers."""
MAX_HEAD_BYTES = 64 * 2**10
RECEIVE_SECONDS = 30.0
"""The time that a client has to send a request's head, and as much again for its body."""


class LimitBodies:
    """Receives the body of a request and passes it on in one message: 413 if it is too large, 408 if it does not arrive in time."""

    def __init__(self, app: ASGIApp, seconds: float = RECEIVE_SECONDS) -> None:
        self.app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        limit = MAX_BATCH_BYTES if scope["path"] == "/steps" else MAX_BODY_BYTES
        try:
            async with asyncio.timeout(self._seconds):
                body = await _receive_body(receive, limit, _content_length(scope))
        except _TooLarge:
            await _error(413, f"the body has more than {limit} bytes")(scope, receive, send)
            return
        except TimeoutError:
            await _error(408, f"the body did not arrive within {self._seconds:g} s")(scope, receive, send)
            return
        if body is None:  # the client has closed the connection
            return
        message: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def receive_again() -> MutableMapping[str, Any]:
            nonlocal message
            if message is None:
                return await receive()
            first, message = message, None
            return first

        await self.app(scope, receive_again, send)


class _TooLarge(Exception):
    pass


async def _receive_body(receive: Receive, limit: int, announced: int) -> bytes | None:
    if announced > limit:
        raise _TooLarge
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # the usual case: nothing to join
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _TooLarge
        return body
    parts, size = [], 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _TooLarge
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    return None


def _content_length(scope: Scope) -> int:
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() and len(value) < 20 else 0


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "kind": "request"}, status, {"Connection": "close"})


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a bound on the head of a request, in bytes and in seconds; uvicorn has neither with httptools."""

    _timer: asyncio.TimerHandle | None = None
    _in_head, _head_bytes = True, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._start_timer()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(RECEIVE_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

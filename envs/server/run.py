"""Runs the server until it is stopped. Invariant: it finishes running requests and closes the environments before it ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from envs.registry import ENVIRONMENTS, VARIANTS
from envs.server.app import make_app
from envs.server.sessions import Limits

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHUTDOWN_SECONDS = 10


class CannotStart(ValueError):
    """The server cannot be started with these arguments; the message says why and what to do."""


def run(host: str, port: int, environments: list[str], limits: Limits, token_file: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. The token is the one in `token_file`, or AGENTEVOL_TOKEN. Raises CannotStart."""
    import uvicorn

    from envs.server.request_limits import MAX_BODY_BYTES, BoundedHttpProtocol

    token = _token(token_file)
    if host not in _LOOPBACK and token is None:
        raise CannotStart(f"listening on {host} needs a token that clients must send; set AGENTEVOL_TOKEN or --token-file")
    if unknown := sorted(set(environments) - {*ENVIRONMENTS, *VARIANTS}):
        raise CannotStart(f"no such environment: {', '.join(unknown)}; there are: {', '.join(sorted({*ENVIRONMENTS, *VARIANTS}))}")
    # Only with IPPROTO_TCP does asyncio turn Nagle's algorithm off; otherwise every reply waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise CannotStart(f"cannot listen on {_in_url(host)}:{port}: {error.strerror}; give another --port") from None
    app = make_app(environments or None, limits, token)
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws_max_size=MAX_BODY_BYTES,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with listener:
        print(f"serving {', '.join(sorted(environments or ENVIRONMENTS))}", flush=True)
        print(f"http://{_in_url(host)}:{listener.getsockname()[1]}  (requests are described at /docs; stop with Ctrl-C)", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def _in_url(host: str) -> str:
    """The host as an address writes it: IPv6 numbers in brackets."""
    return f"[{host}]" if ":" in host else host


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("AGENTEVOL_TOKEN") or None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file}: the token cannot be read: {error}") from None
    if not token:
        raise CannotStart(f"{file} is empty; it must hold the token that clients send")
    return token

"""Running the server until it is told to stop: it finishes what it is answering, closes the worlds and ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from envs.registry import ENVIRONMENTS
from envs.server.app import make_app
from envs.server.sessions import Limits

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GRACE_SECONDS = 10


class Refused(ValueError):
    """The server cannot be started so; the message says why and what to do."""


def run(host: str, port: int, environments: list[str], *, cap: int, idle: float, step: float, token_file: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C. The token is the one in `token_file`, or AGENTEVOL_TOKEN. Raises Refused."""
    import uvicorn

    token = _token(token_file)
    if host not in _LOOPBACK and token is None:
        raise Refused(f"to listen on {host}, not on this machine alone, set a token that clients send: AGENTEVOL_TOKEN or --token-file")
    if unknown := sorted(set(environments) - set(ENVIRONMENTS)):
        raise Refused(f"no such environment: {', '.join(unknown)}; there are: {', '.join(sorted(ENVIRONMENTS))}")
    # With the protocol named, asyncio turns Nagle's algorithm off; without, every reply waits 40 ms for an acknowledgement.
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}; give another --port") from None
    app = make_app(environments or None, Limits(cap, idle, step), token)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS)
    with listening:
        print(f"serving {', '.join(sorted(environments or ENVIRONMENTS))}", flush=True)
        print(f"http://{host}:{listening.getsockname()[1]}  (requests are described at /docs; stop with Ctrl-C)", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("AGENTEVOL_TOKEN") or None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: the token cannot be read: {error}") from None
    if not token:
        raise Refused(f"{file} is empty; it must hold the token that clients send")
    return token

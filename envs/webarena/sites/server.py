"""The sites on loopback: one server per process, in a thread, for all its episodes.

Invariant: a request names its episode in the header `x-episode` and sees that episode's data only.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from functools import lru_cache

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Host

from envs.webarena.sites import SITES
from envs.webarena.sites.store import Store


class Sites:
    """The running server; `port` is on 127.0.0.1."""

    def __init__(self) -> None:
        self._stores: dict[str, Store] = {}
        self._numbers = itertools.count()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        app = Starlette(routes=[Host(site.host, site.app(self._stores), name=site.kind) for site in SITES.values()])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), name="webarena sites", daemon=True).start()

    def open(self) -> tuple[str, Store]:
        """A fresh copy of all data, and the name of the episode that it belongs to."""
        name = str(next(self._numbers))
        self._stores[name] = Store()
        return name, self._stores[name]

    def close(self, name: str) -> None:
        store = self._stores.pop(name, None)
        if store is not None:
            store.close()


@lru_cache(maxsize=1)
def running() -> Sites:
    """The server of this process, started when first asked for."""
    return Sites()

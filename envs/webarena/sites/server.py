"""The HTTP server of the sites on loopback: one per process, in a thread, for all its episodes.

Invariant: a request names its episode in the header `x-episode` and sees that episode's data alone.
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

from envs.webarena.sites.all_sites import SITES
from envs.webarena.sites.database import SiteDatabase


class SiteServer:
    """Starts serving when created. `port`: on 127.0.0.1."""

    def __init__(self) -> None:
        self._databases: dict[str, SiteDatabase] = {}
        self._episode_numbers = itertools.count()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        app = Starlette(routes=[Host(site.host, site.app(self._databases), name=site.name) for site in SITES.values()])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), name="webarena sites", daemon=True).start()

    def open_episode(self) -> tuple[str, SiteDatabase]:
        """A new episode: the value of its header `x-episode`, and its fresh copy of the data."""
        episode = str(next(self._episode_numbers))
        self._databases[episode] = SiteDatabase()
        return episode, self._databases[episode]

    def close_episode(self, episode: str) -> None:
        database = self._databases.pop(episode, None)
        if database is not None:
            database.close()


@lru_cache(maxsize=1)
def running_server() -> SiteServer:
    """The server of this process, started by the first call."""
    return SiteServer()

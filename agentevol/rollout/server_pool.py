"""The environment servers of a rollout, several for one environment if you give several addresses.

Invariant: an episode is played on one server from its first message to its last. Which server that is changes no text: all of an
environment's servers play the same instructions.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

RETRY_SECONDS = 30.0
"""A server that was unavailable gets no episode for this time, then one; if that one finds it available, it gets its share again."""


class ServerPool:
    """Gives each episode the available server with the fewest episodes.

    `servers`: the addresses by environment. `clock`: seconds that never go back. Not safe for several threads.
    """

    def __init__(self, servers: Mapping[str, Sequence[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self.servers, self._clock = servers, clock
        self._episodes: Counter[str] = Counter()
        self._unavailable_until: dict[str, float] = {}

    def acquire(self, env: str) -> str | None:
        """The server of a new episode; None: the environment is played in this process. Call `release` when the episode is over."""
        addresses = self.servers.get(env)
        if not addresses:
            return None
        # If none is available, the one whose time ends first gets the episode: its error then says what is wrong.
        available = [url for url in addresses if self._is_available(url)] or [min(addresses, key=lambda url: self._unavailable_until[url])]
        url = min(available, key=lambda url: self._episodes[url])
        if url in self._unavailable_until:
            self.leave_out(url)  # until this episode knows whether it is available
        self._episodes[url] += 1
        return url

    def release(self, url: str, *, unavailable: bool) -> None:
        """An episode on this server is over. `unavailable`: it ended because the server did not answer or was full."""
        self._episodes[url] -= 1
        if unavailable:
            self.leave_out(url)
        else:
            self._unavailable_until.pop(url, None)

    def leave_out(self, url: str) -> None:
        """Give the server no episode for RETRY_SECONDS from now on."""
        self._unavailable_until[url] = self._clock() + RETRY_SECONDS

    def can_move(self, env: str, moves: int) -> bool:
        """Whether another server can take over an episode that has been moved `moves` times: as often as there are servers."""
        addresses = self.servers.get(env, ())
        return moves < len(addresses) and any(self._is_available(url) for url in addresses)

    def _is_available(self, url: str) -> bool:
        return url not in self._unavailable_until or self._unavailable_until[url] <= self._clock()

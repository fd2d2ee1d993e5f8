"""Calls of slow environments in threads of their own, while the engine generates for the other episodes.

Invariant: an episode has at most one call, and nobody else touches the episode before the call is done; what follows a call runs in the
thread of the rollout.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from agentevol.rollout.episode import Episode

Continuation = Callable[[Episode], None]


class BackgroundCalls:
    """Open calls of a rollout's episodes; true while there are any."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[Episode, Continuation]] = {}
        """By `id` of the episode."""
        self._done: queue.SimpleQueue[tuple[Episode, BaseException | None]] = queue.SimpleQueue()
        self._first: list[tuple[Episode, BaseException | None]] = []
        self._lock = threading.Lock()
        self._abandoned = False

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, episode: Episode) -> bool:
        return id(episode) in self._open

    def start(self, episode: Episode, function: Callable[..., Any], *arguments: Any, then: Continuation) -> None:
        """Call `function(*arguments)`, a method of the episode; `take_done` returns the episode and `then` once it has returned."""
        self._open[id(episode)] = (episode, then)
        # A daemon: a call that never returns must not keep the process alive.
        threading.Thread(target=self._run, args=(episode, function, arguments), name="episode", daemon=True).start()

    def wait(self) -> None:
        """Block until a call is done."""
        if not self._first:
            self._first.append(self._done.get())

    def take_done(self) -> Iterator[tuple[Episode, Continuation]]:
        """The episodes whose calls are done by now. Raises what a call raised."""
        while self._first or not self._done.empty():
            episode, error = self._first.pop() if self._first else self._done.get()
            _, then = self._open.pop(id(episode))
            if error is not None:
                raise error
            yield episode, then

    def abandon(self) -> None:
        """Close the episodes: those whose calls are done now, each other one when its call returns. Does not wait for the calls."""
        with self._lock:
            self._abandoned = True
        while self._first or not self._done.empty():
            episode, _ = self._first.pop() if self._first else self._done.get()
            with suppress(Exception):
                episode.close()

    def _run(self, episode: Episode, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        error: BaseException | None = None
        try:
            function(*arguments)
        except BaseException as raised:  # named boundary: the rollout's thread raises it
            error = raised
        with self._lock:
            if not self._abandoned:
                self._done.put((episode, error))
                return
        with suppress(BaseException):
            episode.close()

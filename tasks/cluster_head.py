"""The connection of a run to the head of its Ray cluster.

Invariant: a run whose head is gone ends with one line that says so, and nothing of Ray holds it up or ends it before. Left to itself, Ray
ends the process after a minute, at once and without a word where its parent is process 1 (nohup, a container), or lets it wait for ever.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tasks.cluster_node import ClusterError

ANSWERS_WITHIN = 10.0
"""Seconds in which the head must accept a connection."""
SILENT_AT_MOST = 30.0
"""Seconds after which a head that accepts no connection is given up; one that Redis keeps can start again in this time."""
ENDS_WITHIN = 10.0
"""Seconds in which Ray must end the connection to a head that is gone; after that it is left as it is."""
NEVER = 10**6
"""Seconds after which Ray ends a process that does not reach the head; 60 by default."""


class HeadLost(ClusterError):
    """The head of the cluster, or this machine's own node, is gone."""


class Head:
    """The head of the cluster that this process is connected to. `ray`: the module."""

    def __init__(self, ray: Any, address: str) -> None:
        self.ray, self.is_lost = ray, False
        self._given = address
        self._address = address if address.startswith("ray://") else ray.get_runtime_context().gcs_address
        self._silent_since: float | None = None

    def wait(self, pending: Sequence[Any], seconds: float) -> list[Any]:
        """Wait a while for one of these references; returns those that are done. Raises HeadLost."""
        with self.guard():
            done: list[Any] = self.ray.wait(list(pending), num_returns=1, timeout=seconds)[0]
        if not done:
            self.check()
        return done

    @contextmanager
    def guard(self) -> Iterator[None]:
        """For a block that does nothing but call Ray. Raises HeadLost."""
        try:
            yield
        except ConnectionError as error:
            if isinstance(error, self.ray.exceptions.RayError):  # of a task on a node
                raise
            self._give_up()  # Ray's client (ray://) has tried for 30 seconds

    def check(self) -> None:
        """Raises HeadLost if the head has been silent for too long."""
        if self._answers():
            self._silent_since = None
            return
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since >= SILENT_AT_MOST:
            self._give_up()

    def require(self) -> None:
        """Return at once if the head answers, and otherwise as soon as it does. Raises HeadLost."""
        while True:
            self.check()
            if self._silent_since is None:
                return
            time.sleep(1.0)

    def _answers(self) -> bool:
        try:
            check_reachable(self._address)
            _check_own_node(self.ray)
        except OSError:
            return False
        return True

    def _give_up(self) -> NoReturn:
        """Raises HeadLost."""
        self.is_lost = True
        ending = threading.Thread(target=self.ray.shutdown, daemon=True)
        ending.start()
        ending.join(ENDS_WITHIN)
        if ending.is_alive():  # then Ray must not be waited for when this process ends, either
            atexit.unregister(self.ray._private.worker.shutdown)
        raise HeadLost(
            f"cluster.address: {self._given} given, but the head of that Ray cluster (or this machine's node of it) is gone: it has not"
            f" answered for {SILENT_AT_MOST:.0f} s. Start the cluster again and run the same command; finished work is kept"
        )


_head: Head | None = None


def connect(address: str) -> Head:
    """The head of the cluster, to which this process stays connected. Raises ClusterError."""
    global _head
    _configure()
    import ray

    if _head is not None and not _head.is_lost and ray.is_initialized():
        _head.require()
        return _head
    if not ray.is_initialized():
        try:
            check_reachable(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except Exception as error:  # Ray raises whatever its transport raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"cluster.address: {address} given, but no Ray cluster answers there ({reason[:200]});"
                " start one with `ray start --head`, or set cluster.address to null"
            ) from None
    _head = Head(ray, address)
    return _head


def _configure() -> None:
    """Ray reads these variables when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(NEVER))
    # Without a living process here, one whose parent is process 1 takes itself for an orphan of its node when a connection breaks.
    os.environ["RAY_RAYLET_PID"] = str(os.getpid())


def check_reachable(address: str) -> None:
    """Ray itself tries for minutes. Raises OSError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()


def _check_own_node(ray: Any) -> None:
    """A new head at the address of the old one accepts connections, but knows this machine's node no more, which then ends.
    Raises OSError."""
    node = getattr(ray._private.worker, "_global_node", None)  # None for ray://
    name = getattr(node, "raylet_socket_name", None)
    if name and hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWERS_WITHIN)
            connection.connect(name.removeprefix("unix://"))

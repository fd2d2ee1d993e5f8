"""Load on the server: `python -m benchmarks.serve [--seconds 60]`. It starts a server on this machine and talks to nothing else.

- 256 sessions at once over all environments in plain Python, stepped by 32 clients: steps/s, p50, p99, errors, the server's memory;
- TextCraft alone, 32 clients: single steps, and batches of 64.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.results import record
from envs.registry import ENVIRONMENTS, environment_class
from envs.serve.client import Connection

CLIENTS, SESSIONS, BATCH = 32, 256, 64
_NOT_PLAIN = {"sciworld", "webarena"}


class Seat:
    """A session and its instructions, which follow one another when an episode ends."""

    def __init__(self, connection: Connection, name: str, number: int) -> None:
        self.connection, self.name = connection, name
        items = environment_class(name).instructions("eval")
        self.items = itertools.cycle([items[(number + step) % len(items)].item_id for step in range(len(items))])
        self.key = connection.ask("POST", "/sessions", {"environment": name})["session"]
        self.reset()

    def reset(self) -> None:
        told = self.connection.ask("POST", f"/sessions/{self.key}/reset", {"item_id": next(self.items)})
        self.turn, self.over, self.actions = 0, False, told["info"].get("available_actions") or ["inventory"]

    def body(self) -> dict[str, object]:
        return {"action": self.actions[self.turn % len(self.actions)], "turn": self.turn}

    def heard(self, told: dict[str, object]) -> None:
        self.turn, self.over = self.turn + 1, bool(told["terminated"] or told["truncated"])


def single(seats: list[Seat], took: list[float]) -> None:
    for seat in seats:
        if seat.over:
            seat.reset()
        began = time.perf_counter()
        seat.heard(seat.connection.ask("POST", f"/sessions/{seat.key}/step", seat.body()))
        took.append(time.perf_counter() - began)


def batched(seats: list[Seat], took: list[float]) -> None:
    for seat in seats:
        if seat.over:
            seat.reset()
    began = time.perf_counter()
    replies = seats[0].connection.step_many([{"session": seat.key, **seat.body()} for seat in seats])
    took += [time.perf_counter() - began] * len(seats)
    for seat, told in zip(seats, replies, strict=True):
        seat.heard(told)


def load(
    url: str, names: list[str], sessions: int, clients: int, seconds: float, act: Callable[[list[Seat], list[float]], None]
) -> tuple[str, float]:
    """The line to print, and steps/s. Every client is a thread with its own connection."""
    connections = [Connection(url) for _ in range(clients)]
    seats = [
        [Seat(connection, names[(number + index * 7) % len(names)], number) for index in range(sessions // clients)]
        for number, connection in enumerate(connections)
    ]
    took: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        try:
            while time.perf_counter() < end:
                act(seats[number], took[number])
        except Exception as error:  # counted, and told
            errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = sum(map(len, took)) / (time.perf_counter() - began)
    times = sorted(time for some in took for time in some)
    for connection, some in zip(connections, seats, strict=True):
        for seat in some:
            connection.ask("DELETE", f"/sessions/{seat.key}")
        connection.close()
    middle, late = 1e3 * statistics.median(times), 1e3 * times[int(0.99 * len(times))]
    told = f"{rate:8.0f} steps/s, p50 {middle:.1f} ms, p99 {late:.1f} ms, {len(errors)} errors"
    return told + (f" ({errors[0]})" if errors else ""), rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path, help="a file for the results, for benchmarks.check")
    asked = parser.parse_args()
    seconds = asked.seconds
    command = "from flows.cli import main; main()"
    server = subprocess.Popen([sys.executable, "-c", command, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    url = server.stdout.readline().split()[0]
    names = sorted(set(ENVIRONMENTS) - _NOT_PLAIN)
    process = psutil.Process(server.pid)

    def memory() -> str:
        return f"{process.memory_info().rss / 2**20:.0f} MiB"

    try:
        print(f"server {memory()} at the start")
        told, _ = load(url, names, SESSIONS, CLIENTS, seconds / 6, single)
        print(f"warm-up, {SESSIONS} sessions, {len(names)} environments: {told}; server {memory()}")
        told, _ = load(url, names, SESSIONS, CLIENTS, seconds, single)
        print(f"{SESSIONS} sessions, {len(names)} environments: {told}; server {memory()}")
        told, one = load(url, ["textcraft"], CLIENTS, CLIENTS, seconds / 4, single)
        print(f"TextCraft, {CLIENTS} clients, single steps: {told}")
        told, many = load(url, ["textcraft"], 4 * BATCH, 4, seconds / 4, batched)
        print(f"TextCraft, 4 clients, batches of {BATCH}: {told}; {many / one:.1f} times single")
        record(asked.json, "serve", {"batches over single steps": many / one}, {"single steps/s": one, "batched steps/s": many})
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

"""Load on the server: `python -m benchmarks.serve [--seconds 60]`. It starts a server on this machine and talks to nothing else.

- 256 sessions at once over all environments in plain Python, stepped by 32 clients: steps/s, p50, p99, errors, the server's memory;
- TextCraft alone, 32 clients: single steps, and batches of 64.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.results import record
from envs.registry import ENVIRONMENTS, environment_class

CLIENTS, SESSIONS, BATCH = 32, 256, 64
_NOT_PLAIN = {"sciworld", "webarena"}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Wire:
    """One connection, as lean as a client can be in Python: the server is to be measured and shares the machine with its clients."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Wire:
        host, _, port = url.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The reply's JSON. Raises RuntimeError for any status of 300 and more."""
        data = json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        self.writer.write(head.encode() + data)
        told = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(told)
        reply = await self.reader.readexactly(int(length[1])) if length else b""
        if int(told[9:12]) >= 300:
            raise RuntimeError(f"{method} {path}: {reply.decode()}")
        return json.loads(reply) if reply else None


class Seat:
    """A session and its instructions, which follow one another when an episode ends."""

    def __init__(self, wire: Wire, name: str, number: int) -> None:
        self.wire, self.name = wire, name
        items = environment_class(name).instructions("eval")
        self.items = itertools.cycle([items[(number + step) % len(items)].item_id for step in range(len(items))])
        self.key, self.turn, self.over = "", 0, True

    async def open(self) -> None:
        self.key = (await self.wire.ask("POST", "/sessions", {"environment": self.name}))["session"]
        await self.reset()

    async def reset(self) -> None:
        told = await self.wire.ask("POST", f"/sessions/{self.key}/reset", {"item_id": next(self.items)})
        self.turn, self.over, self.actions = 0, False, told["info"].get("available_actions") or ["inventory"]

    def body(self) -> dict[str, object]:
        return {"action": self.actions[self.turn % len(self.actions)], "turn": self.turn}

    def heard(self, told: dict[str, object]) -> None:
        self.turn, self.over = self.turn + 1, bool(told["terminated"] or told["truncated"])


async def single(seats: list[Seat], took: list[float]) -> None:
    for seat in seats:
        if seat.over:
            await seat.reset()
        began = time.perf_counter()
        seat.heard(await seat.wire.ask("POST", f"/sessions/{seat.key}/step", seat.body()))
        took.append(time.perf_counter() - began)


async def batched(seats: list[Seat], took: list[float]) -> None:
    for seat in seats:
        if seat.over:
            await seat.reset()
    began = time.perf_counter()
    replies = await seats[0].wire.ask("POST", "/steps", {"steps": [{"session": seat.key, **seat.body()} for seat in seats]})
    took += [time.perf_counter() - began] * len(seats)
    for seat, told in zip(seats, replies, strict=True):
        seat.heard(told)


Act = Callable[[list[Seat], list[float]], Awaitable[None]]


def load(url: str, names: list[str], sessions: int, clients: int, seconds: float, act: Act) -> tuple[str, float]:
    """The line to print, and steps/s. Every client has a connection of its own; all are in one event loop."""
    return uvloop.run(_load(url, names, sessions, clients, seconds, act))


async def _load(url: str, names: list[str], sessions: int, clients: int, seconds: float, act: Act) -> tuple[str, float]:
    wires = [await Wire.open(url) for _ in range(clients)]
    seats = [
        [Seat(wire, names[(number + index * 7) % len(names)], number) for index in range(sessions // clients)]
        for number, wire in enumerate(wires)
    ]
    for seat in itertools.chain(*seats):
        await seat.open()
    took: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    began = time.perf_counter()

    async def work(number: int) -> None:
        try:
            while time.perf_counter() < began + seconds:
                await act(seats[number], took[number])
        except Exception as error:  # counted, and told
            errors.append(f"{type(error).__name__}: {error}")

    await asyncio.gather(*(work(number) for number in range(clients)))
    rate = sum(map(len, took)) / (time.perf_counter() - began)
    times = sorted(time for some in took for time in some)
    for wire, some in zip(wires, seats, strict=True):
        for seat in some:
            await wire.ask("DELETE", f"/sessions/{seat.key}")
        wire.writer.close()
    middle, late = 1e3 * statistics.median(times), 1e3 * times[int(0.99 * len(times))]
    told = f"{rate:8.0f} steps/s, p50 {middle:.1f} ms, p99 {late:.1f} ms, {len(errors)} errors"
    return told + (f" ({errors[0]})" if errors else ""), rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path, help="a file for the results, for benchmarks.check")
    asked = parser.parse_args()
    seconds = asked.seconds
    command = "from flows.cli.main import main; main()"
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

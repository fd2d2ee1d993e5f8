"""What a Prefect task run costs after many others of its flow run: `python -m benchmarks.scale.task_runs [--count 10000] [--minutes 60]`.

Tasks whose results are stored already are called one after the other, as a run does with the chunks that a cluster has played. For each
block of them, a line is printed as soon as it is measured: processor seconds per task run of the flow's process and of Prefect's server,
the memory of both, and the size of the database. Seconds are processor seconds, because other processes may run. Goal: flat, so the last
quarter of the blocks may cost at most a tenth more than the first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.results import machine, record

GOAL = 1.1
HEADER = "| task runs | flow ms | server ms | wall ms | flow MiB | server MiB | database MB |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Block:
    """Some task runs: `until` is the number of task runs up to its end; seconds are per task run; memory and size are those at its end."""

    until: int
    flow: float
    server: float
    wall: float
    flow_bytes: int
    server_bytes: int
    database_bytes: int

    def row(self) -> str:
        times = " | ".join(f"{1000 * seconds:.1f}" for seconds in (self.flow, self.server, self.wall))
        memory = " | ".join(f"{size / 1024**2:.0f}" for size in (self.flow_bytes, self.server_bytes))
        return f"| {self.until:,} | {times} | {memory} | {self.database_bytes / 1e6:.1f} |"


def measure_task_runs(
    folder: Path,
    count: int,
    block: int,
    *,
    minutes: float = 60.0,
    show: Callable[[Block], None] = lambda _: None,
    afterwards: Callable[[Callable[[], float]], Any] = lambda _: None,
) -> tuple[list[Block], Any]:
    """The blocks of a flow run of `count` task runs, fewer if they take longer than `minutes`; and what `afterwards` returns in that run.

    `afterwards` gets the clock of the processor seconds of flow and server. Call it in a process of its own: it makes `folder` the project.
    """
    from prefect import flow

    from flows.prefect_server import LocalServer

    begin_project(folder)
    server = LocalServer(folder / ".prefect")
    with use_server(server):
        task, blocks, deadline = note_task(), list[Block](), time.monotonic() + 60 * minutes
        processes = [psutil.Process(), psutil.Process(server.process.pid)]

        @flow(name="measured")
        def measured() -> Any:
            for start in range(0, count, block):
                part = range(start, min(count, start + block))
                for number in part:
                    task.compute(number=number)
                before = [*map(_processor_seconds, processes), time.monotonic()]
                for number in part:
                    task(number=number)
                after = [*map(_processor_seconds, processes), time.monotonic()]
                spent = [(end - begin) / len(part) for begin, end in zip(before, after, strict=True)]
                blocks.append(Block(part.stop, *spent, *map(_memory, processes), _database_bytes(folder)))
                show(blocks[-1])
                if time.monotonic() > deadline:
                    break
            return afterwards(lambda: sum(map(_processor_seconds, processes)))

        return blocks, measured()


def growth(blocks: Sequence[Block]) -> float:
    """The cost of the last quarter of the blocks as a multiple of the first quarter's."""
    costs = [block.flow + block.server for block in blocks[1:] or blocks]  # the first one imports and connects
    quarter = max(1, len(costs) // 4)
    return median(costs[-quarter:]) / median(costs[:quarter])


def begin_project(folder: Path) -> None:
    """Make the folder the project."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        os.environ.pop(name, None)
    os.environ["PREFECT_HOME"] = str(folder / ".prefect")


@contextmanager
def use_server(server: Any) -> Iterator[None]:
    """Prefect, which is imported already, uses this server and this project's folder, until the server ends."""
    from prefect.settings import PREFECT_API_URL, PREFECT_RESULTS_LOCAL_STORAGE_PATH, temporary_settings

    try:
        server.wait()
        with temporary_settings({PREFECT_API_URL: server.url, PREFECT_RESULTS_LOCAL_STORAGE_PATH: Path(".prefect/results").resolve()}):
            yield
    finally:
        server.stop()


def note_task() -> Any:
    """A task with a tiny result."""
    from tasks.cached_task import TaskOutput, cached_task

    @cached_task("text", version="1")
    def note(out: Path, *, number: int) -> TaskOutput:
        (out / "number").write_text(str(number))
        return TaskOutput()

    return note


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _memory(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _database_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / ".prefect").glob("prefect.db*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="task runs of the flow run")
    parser.add_argument("--block", type=int, default=250, help="task runs of a line")
    parser.add_argument("--minutes", type=float, default=60.0, help="after this time no further block begins")
    parser.add_argument("--json", type=Path, help="the results file")
    arguments = parser.parse_args()
    results_file = arguments.json.resolve() if arguments.json else None
    from flows.cli.command import set_quiet_defaults

    set_quiet_defaults()  # before Prefect is imported
    print(f"{machine()}\n\n{HEADER}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        blocks, _ = measure_task_runs(
            Path(folder) / "project",
            arguments.count,
            arguments.block,
            minutes=arguments.minutes,
            show=lambda block: print(block.row(), flush=True),
        )
        os.chdir("/")
    print(f"\nthe last quarter of the blocks costs {growth(blocks):.2f} times as much as the first (goal {GOAL:g})")
    record(results_file, "task runs", {"first quarter / last quarter": 1 / growth(blocks)}, {"task runs": blocks[-1].until})


if __name__ == "__main__":
    main()

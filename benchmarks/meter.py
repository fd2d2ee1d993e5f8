"""The product's command line with timings: `python -m benchmarks.meter LOG [--toy] evolve -S seed=1`. Used by the other benchmarks.

LOG gets one JSON line per task body that ran (its key, seconds, episodes, tokens), one per use of Great Expectations, and one for the whole
command. Invariant: the product itself runs, unchanged; only calls are timed.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import functools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).parents[1]
WORK = ("episodes", "tokens", "trained_tokens")


@dataclass
class Measurement:
    """A finished command, in seconds: `wall` time, `cpu` time of it and its children, the time `before` the flow, and its task bodies."""

    wall: float
    cpu: float
    before: float
    bodies: list[dict[str, Any]] = field(default_factory=list)
    great_expectations: float = 0.0

    @property
    def main_job(self) -> float:
        """Seconds in task bodies, without Great Expectations."""
        return sum(body["seconds"] for body in self.bodies) - self.great_expectations


def run(folder: Path, *arguments: str, toy: bool = False) -> Measurement:
    """Run the command in a project's folder, in a process of its own. Raises CalledProcessError."""
    log = folder / "meter.jsonl"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.meter", str(log), *(["--toy"] if toy else []), *arguments]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=command_environment(), check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    (whole,) = (line for line in lines if line["kind"] == "whole")
    great_expectations = sum(line["seconds"] for line in lines if line["kind"] == "great expectations")
    return Measurement(wall, whole["cpu"], whole["before"], [line for line in lines if line["kind"] == "body"], great_expectations)


def command_environment(*folders: Path) -> dict[str, str]:
    """The environment of a command in another folder. Python finds `folders`, then the benchmarks and tests, which are not installed."""
    python_path = [*map(str, folders), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(python_path)}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [header, ["---"] * len(header), *rows])


def main() -> None:
    log, *arguments = sys.argv[1:]
    from flows.cli import command
    from flows.cli import main as cli

    if arguments[0] == "--toy":
        from tests.flows.tiny import register

        arguments = arguments[1:]
        register()
    whole: dict[str, Any] = {"kind": "whole"}
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        load_flow = command.load_flow

        def load_timed(name: str) -> Callable[..., Any]:
            """The flow with timed tasks. Prefect must not be imported earlier."""
            _time_tasks(lambda **line: file.write(json.dumps(line) + "\n"))
            flow = load_flow(name)

            def run_flow(**arguments: Any) -> Any:
                whole["before"] = time.perf_counter() - STARTED
                return flow(**arguments)

            return run_flow

        command.load_flow = load_timed
        sys.argv[1:] = arguments
        try:
            cli.main()
        finally:
            usages = [resource.getrusage(target) for target in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            whole["cpu"] = sum(usage.ru_utime + usage.ru_stime for usage in usages)
            file.write(json.dumps(whole) + "\n")


def _time_tasks(write: Callable[..., Any]) -> None:
    from tasks.cached_task import CachedTask

    original_init = CachedTask.__init__

    def timed(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def run(out: Path, **inputs: Any) -> Any:
            start = time.perf_counter()
            output = body(out, **inputs)
            seconds, key = time.perf_counter() - start, out.parent.name.split(".")[1]  # `.<key>.tmp/<machine> ...tmp`
            write(kind="body", key=key, seconds=seconds, **{name: output.facts[name] for name in WORK if name in output.facts})
            return output

        return run

    def init(self: CachedTask, body: Callable[..., Any], *rest: Any) -> None:
        original_init(self, timed(body), *rest)

    CachedTask.__init__ = init  # type: ignore[method-assign]
    from agentevol.gate import expectations

    for name in ("_expectations", "_validate"):
        setattr(expectations, name, _timed_check(getattr(expectations, name), write))


def _timed_check(call: Callable[..., Any], write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            write(kind="great expectations", seconds=time.perf_counter() - start)

    return timed


if __name__ == "__main__":
    main()

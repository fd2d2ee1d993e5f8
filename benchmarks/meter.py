"""The product's command line with a stopwatch: `python -m benchmarks.meter LOG [--toy] evolve -S seed=1`. Used by the other benchmarks.

LOG gets a JSON line per body of a stored task that ran (its key, seconds, what it played and learnt), one per use of Great Expectations,
and one for the whole. Invariant: what is run is the product itself; only calls are timed.
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
class Metered:
    """A command that ended: `wall` from its start to its end, `cpu` of it and its children, `before` the flow began, and its bodies."""

    wall: float
    cpu: float
    before: float
    bodies: list[dict[str, Any]] = field(default_factory=list)
    great_expectations: float = 0.0

    @property
    def main_job(self) -> float:
        """Seconds in the bodies of tasks, without Great Expectations."""
        return sum(body["seconds"] for body in self.bodies) - self.great_expectations


def run(folder: Path, *arguments: str, toy: bool = False) -> Metered:
    """The command in a project's folder, in a process of its own. Raises CalledProcessError."""
    log = folder / "meter.jsonl"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.meter", str(log), *(["--toy"] if toy else []), *arguments]
    began = time.perf_counter()
    # The benchmarks (and the tests' toy world) are not installed with the product.
    found = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": found}, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    (whole,) = (line for line in lines if line["what"] == "whole")
    checked = sum(line["seconds"] for line in lines if line["what"] == "great expectations")
    return Metered(wall, whole["cpu"], whole["before"], [line for line in lines if line["what"] == "body"], checked)


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
    whole: dict[str, Any] = {"what": "whole"}
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        load = command.load

        def loaded(name: str) -> Callable[..., Any]:
            """The flow, its tasks timed. Prefect may be imported here and not earlier."""
            _time_tasks(lambda **line: file.write(json.dumps(line) + "\n"))
            flow = load(name)

            def begin(**given: Any) -> Any:
                whole["before"] = time.perf_counter() - STARTED
                return flow(**given)

            return begin

        command.load = loaded
        sys.argv[1:] = arguments
        try:
            cli.main()
        finally:
            used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            whole["cpu"] = sum(one.ru_utime + one.ru_stime for one in used)
            file.write(json.dumps(whole) + "\n")


def _time_tasks(write: Callable[..., Any]) -> None:
    from tasks.cached_task import CachedTask

    begin = CachedTask.__init__

    def timed(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def run(out: Path, **inputs: Any) -> Any:
            began = time.perf_counter()
            made = body(out, **inputs)
            seconds, key = time.perf_counter() - began, out.name.split(".")[1]  # `.<key>.<machine> ...tmp`
            write(what="body", key=key, seconds=seconds, **{name: made.facts[name] for name in WORK if name in made.facts})
            return made

        return run

    def init(self: CachedTask, body: Callable[..., Any], *rest: Any) -> None:
        begin(self, timed(body), *rest)

    CachedTask.__init__ = init  # type: ignore[method-assign]
    from agentevol.gate import expectations

    for name in ("_expectations", "_validate"):
        setattr(expectations, name, _told(getattr(expectations, name), write))


def _told(call: Callable[..., Any], write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*given: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*given)
        finally:
            write(what="great expectations", seconds=time.perf_counter() - began)

    return timed


if __name__ == "__main__":
    main()

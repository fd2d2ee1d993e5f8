"""How long the command line takes to start: `python -m benchmarks.startup [--json FILE]`.

Processor time of `agentevol --help` against that of a Typer application with one empty command, taken in turn, each the best of five.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.results import record

BARE = "import typer\napp = typer.Typer()\napp.command()(lambda: None)\napp(['--help'])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="add the results to this file")
    options = parser.parse_args()
    commands = {"agentevol": ["-m", "flows.cli", "--help"], "bare": ["-c", BARE]}
    seconds = {name: min(values) for name, values in _measure(commands, rounds=5).items()}
    ratio = seconds["bare"] / seconds["agentevol"]
    print(f"agentevol --help {seconds['agentevol']:.2f} s, a bare application {seconds['bare']:.2f} s: ratio {ratio:.2f} (1 is as fast)")
    record(options.json, "startup", {"bare application / agentevol --help": ratio}, {"processor seconds": seconds})


def _measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            before = _children()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(_children() - before)
    return seconds


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

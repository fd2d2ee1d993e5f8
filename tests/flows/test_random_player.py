"""The random player: errors are played again until they are gone, and no result disappears under another run that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.dataset import read_dataset, write_instructions
from envs.factory import make
from flows.random_player import evaluate_random_player
from tasks import paths
from tasks.artifact import Artifact
from tests.flows.tiny import Pushing


@pytest.fixture
def instructions(tiny_project: Path) -> Artifact:
    written = write_instructions(tiny_project / "instructions", {"eval": Pushing.instructions("eval")})
    return Artifact(kind="instructions", path="instructions", digest=written.digest, counts=written.counts)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Any]], list[str]]:
    """Make environments with this function from now on; returns their names, which the players of the test fill."""

    def use(make_environment: Callable[[str], Any]) -> list[str]:
        made: list[str] = []

        def counted(env: str) -> Any:
            made.append(env)
            return make_environment(env)

        monkeypatch.setattr("tasks.random_baseline.make", counted)
        return made

    return use


def missing(env: str) -> Any:
    raise ModuleNotFoundError(f"{env} is not installed")


def play(instructions: Artifact) -> Artifact:
    evaluated = evaluate_random_player(instructions, seed=0)
    assert evaluated is not None
    return evaluated[0]


def test_errors_are_played_again_and_what_another_run_reads_stays(instructions: Artifact, use: Any) -> None:
    use(missing)
    first = play(instructions)
    assert sum(first.facts["error_counts"].values()) == 6
    manifest = first.folder.parent / "manifest.json"
    written = manifest.stat()
    made = use(missing)
    assert play(instructions) == first
    assert len(made) == 6, "every error once: nothing is stored again"
    assert (manifest.stat().st_ino, manifest.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)

    use(make)  # the package was installed
    second = play(instructions)
    assert second.facts["error_counts"] == {}
    assert [episode.status for episode in read_dataset(first.folder)] == ["error"] * 6, "for the runs that began before"
    made = use(make)
    assert play(instructions) == second
    assert made == []
    assert len(list(paths.store().glob("roll-out-random-v1-*"))) == 2


def test_episodes_without_an_error_are_played_once(instructions: Artifact, use: Any) -> None:
    made = use(make)
    assert play(instructions) == play(instructions)
    assert len(made) == 6

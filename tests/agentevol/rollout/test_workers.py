"""Several processes at one rollout: the same trajectories, and clear ends where a process fails or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.rollout.workers import WorkerLost, map_workers, shutdown_workers
from tests import ROOT
from tests.agentevol.counting import Counting
from tests.agentevol.rollout.test_rollout import Settings

INSTRUCTIONS = Counting.instructions("explore")


@pytest.fixture(scope="module", autouse=True)
def ended_afterwards() -> Iterator[None]:
    yield
    shutdown_workers()


def own_process(part: int, tick: Callable[[int, int], None]) -> tuple[int, int, str]:
    for done in range(part):
        tick(done + 1, part)
    return part, os.getpid(), os.environ["OMP_NUM_THREADS"]


def fail(part: int, tick: Callable[[int, int], None]) -> None:
    if part == 1:
        raise ValueError("this part cannot be played")
    time.sleep(60)


def die(part: int, tick: Callable[[int, int], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_part_has_a_process_that_stays() -> None:
    seen: list[tuple[int, int]] = []
    first = map_workers(own_process, [2, 3], lambda done, total: seen.append((done, total)))
    again = map_workers(own_process, [5, 4])
    assert [part for part, _, _ in first + again] == [2, 3, 5, 4]
    assert [process for _, process, _ in first] == [process for _, process, _ in again]
    assert len({process for _, process, _ in first} | {os.getpid()}) == 3
    assert {threads for *_, threads in first} == {"1"}
    assert seen[-1] == (5, 5)


def test_what_a_part_raises_is_raised_and_ends_the_others() -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="cannot be played"):
        map_workers(fail, [0, 1])
    assert time.monotonic() - began < 40
    assert [part for part, _, _ in map_workers(own_process, [1, 2])] == [1, 2]


def test_a_killed_process_is_told_with_what_to_do() -> None:
    with pytest.raises(WorkerLost, match=r"exit code -9.*lower rollout\.slots"):
        map_workers(die, [0, 1])


def test_two_processes_play_what_one_plays(small_models: dict[str, Path], counting: str) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    work = [*INSTRUCTIONS, *INSTRUCTIONS[:1]]
    alone = roll_out(small_models["qwen"], work, samples=2, sampling=sampling, settings=Settings())
    shared = roll_out(small_models["qwen"], work, samples=2, sampling=sampling, settings=Settings(workers=2, slots=6))
    assert len(work) * 2 >= 16
    assert [(one.item_id, one.sample, one.token_ids) for one in shared] == [(one.item_id, one.sample, one.token_ids) for one in alone]


PARENT = """
import sys
from agentevol.rollout.workers import map_workers
from tests.agentevol.rollout.test_workers import own_process
if __name__ == "__main__":
    print(*[process for _, process, _ in map_workers(own_process, [1, 1])], flush=True)
    sys.stdin.read()
"""


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    root = str(ROOT)
    parent = subprocess.Popen(
        [sys.executable, "parent.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert len(children) == 2
    assert not alive

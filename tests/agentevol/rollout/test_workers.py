"""Worker processes: the same trajectories as in one process, and a clear end if a process fails or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.rollout.workers import Progress, WorkerLost, map_workers, shutdown_workers
from tests import ROOT
from tests.agentevol.counting import Counting, rollout_params

INSTRUCTIONS = Counting.instructions("explore")


@pytest.fixture(scope="module", autouse=True)
def no_workers_left() -> Iterator[None]:
    yield
    shutdown_workers()


def describe_process(shard: int, report_progress: Progress) -> tuple[int, int, str]:
    for done in range(shard):
        report_progress(done + 1, shard)
    return shard, os.getpid(), os.environ["OMP_NUM_THREADS"]


def fail_while_another_works(shard: Path, report_progress: Progress) -> None:
    """The shard with the name "busy" writes its process id and works for ever; the other waits for that and fails."""
    process_id = shard.with_name("process_id")
    if shard.name == "busy":
        process_id.with_suffix(".tmp").write_text(str(os.getpid()))
        process_id.with_suffix(".tmp").rename(process_id)
        threading.Event().wait()
    while not process_id.exists():
        time.sleep(0.01)
    raise ValueError("this shard cannot be played")


def kill_itself(shard: int, report_progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class TwoArguments(Exception):
    def __init__(self, shard: int, problem: str) -> None:
        super().__init__(f"the shard {shard} has {problem}")


def fail_with_two_arguments(shard: int, report_progress: Progress) -> None:
    raise TwoArguments(shard, "a fault")


def test_each_shard_has_a_process_that_stays() -> None:
    reports: list[tuple[int, int]] = []
    first = map_workers(describe_process, [2, 3], lambda done, total: reports.append((done, total)))
    second = map_workers(describe_process, [5, 4])
    assert [shard for shard, _, _ in first + second] == [2, 3, 5, 4]
    assert [process_id for _, process_id, _ in first] == [process_id for _, process_id, _ in second]
    assert len({process_id for _, process_id, _ in first} | {os.getpid()}) == 3
    assert {threads for *_, threads in first} == {"1"}
    assert reports[-1] == (5, 5)


def test_an_exception_in_a_shard_is_raised_and_ends_the_other_processes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be played"):
        map_workers(fail_while_another_works, [tmp_path / "busy", tmp_path / "failing"])
    assert not psutil.pid_exists(int((tmp_path / "process_id").read_text()))
    assert [shard for shard, _, _ in map_workers(describe_process, [1, 2])] == [1, 2]


def test_an_exception_that_cannot_be_sent_is_raised_with_its_text() -> None:
    with pytest.raises(RuntimeError, match="TwoArguments: the shard 0 has a fault"):
        map_workers(fail_with_two_arguments, [0, 0])


def test_a_killed_process_is_reported_with_a_remedy() -> None:
    with pytest.raises(WorkerLost, match=r"exit code -9.*lower rollout\.concurrency"):
        map_workers(kill_itself, [0, 1])


@pytest.mark.slow
def test_two_processes_play_the_same_episodes_as_one(small_models: dict[str, Path], counting: str) -> None:
    sampling = Sampling(temperature=1.0, seed=5)
    work = [*INSTRUCTIONS, *INSTRUCTIONS[:1]]
    alone = roll_out(small_models["qwen"], work, samples=2, sampling=sampling, settings=rollout_params())
    two_workers = rollout_params(num_workers=2, concurrency=6)
    shared = roll_out(small_models["qwen"], work, samples=2, sampling=sampling, settings=two_workers)
    assert len(work) * 2 >= 16
    expected = [(trajectory.item_id, trajectory.sample, trajectory.token_ids) for trajectory in alone]
    assert [(trajectory.item_id, trajectory.sample, trajectory.token_ids) for trajectory in shared] == expected


PARENT = """
import sys
from agentevol.rollout.workers import map_workers
from tests.agentevol.rollout.test_workers import describe_process
if __name__ == "__main__":
    print(*[process_id for _, process_id, _ in map_workers(describe_process, [1, 1])], flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
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

"""The head of a Ray cluster dies while its nodes compute: one clear line, and the same call goes on with a new head."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentevol.settings.cluster import ClusterParams
from tasks import cluster, cluster_head, paths
from tasks.artifact import Artifact
from tasks.cluster import ClusterError, Work, compute_on_cluster
from tasks.cluster_head import Head, HeadLost
from tests.tasks.ray_nodes import OnlyNode, set_node_environment, wait_for
from tests.tasks.slow_tasks import STARTED, WAIT, letters
from tests.tasks.small_training import train

ONE_LINE = (
    r"^cluster.address: \S+ given, but the head of that Ray cluster .* is gone: it has not answered for 1 s\."
    r" Start the cluster again and run the same command; finished work is kept$"
)


TRAINING: dict[str, Any] = {"epochs": 60, "checkpoint_minutes": 0.0}
"""Some hundred steps, with a checkpoint after each."""


@pytest.fixture
def new_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], OnlyNode]]:
    """Starts a cluster; the one before has ended then."""
    ray = pytest.importorskip("ray")
    set_node_environment(monkeypatch)
    monkeypatch.setattr(cluster_head, "SILENT_AT_MOST", 1.0)
    started: list[OnlyNode] = []

    def start() -> OnlyNode:
        end()
        started.append(OnlyNode())
        return started[-1]

    def end() -> None:
        ray.shutdown()
        if started:
            started[-1].cluster.shutdown()

    yield start
    end()


def compute_letters(params: ClusterParams) -> list[Artifact]:
    calls = [{"letter": letter} for letter in "ab"]
    compute_on_cluster(letters, calls, params, Work("a letter", 1, "rollout.num_workers"), title="letters")
    return [letters.read_artifact(inputs) for inputs in calls]


def line_after(computation: Callable[[], object], interrupt: Callable[[], None]) -> str:
    """The message of the ClusterError with which the computation ends when it is interrupted."""
    errors: list[ClusterError] = []

    def run() -> None:
        try:
            computation()
        except ClusterError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    interrupt()
    thread.join(timeout=900)
    return str(errors[0])


@pytest.mark.slow
def test_a_run_whose_head_dies_ends_with_a_line_and_goes_on_with_a_new_head(
    new_cluster: Callable[[], OnlyNode], project: Path, without_prefect: None
) -> None:
    first = new_cluster()

    def starts() -> list[str]:
        return sorted(path.name[0] for path in (project / STARTED).glob("*"))

    def kill_while_a_letter_waits() -> None:
        wait_for(lambda: len(starts()) == 1)
        first.kill_head()

    (project / WAIT).touch()
    assert_matches(line_after(lambda: compute_letters(first.params), kill_while_a_letter_waits))
    (project / WAIT).unlink()
    second = new_cluster()
    results = compute_letters(second.params)
    assert len(starts()) <= 3, "at most one of them twice"  # a process can outlive its node, and finish what it computes
    assert os.getpid() not in [result.facts["process"] for result in results]

    def kill_after_a_checkpoint() -> None:
        wait_for(lambda: any((project / "runs" / "learning" / "checkpoints").glob("[!.]*/manifest.json")))
        second.kill_head()

    assert_matches(line_after(lambda: train(project, second.params, **TRAINING), kill_after_a_checkpoint))
    continued = train(project, ClusterParams(), **TRAINING)
    assert not list((paths.root() / "runs" / ".cluster").iterdir())
    (project / "runs").rename(project / "before")
    undisturbed = [Artifact(**letters.compute(letter=letter)) for letter in "ab"]
    assert [result.digest for result in results] == [result.digest for result in undisturbed]
    assert continued.digest == train(project, ClusterParams(), **TRAINING).digest


def assert_matches(line: str) -> None:
    with pytest.raises(ClusterError, match=ONE_LINE):
        raise ClusterError(line)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class RayError(Exception):
    """Stands for Ray's class."""


class RayHere:
    """Stands for the module ray: computes each call at once in this process. `wait`: what else to do when results are waited for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=type("RayTaskError", (RayError,), {}))

    def __init__(self, listener: socket.socket) -> None:
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.shutdown: Callable[[], object] = lambda: None
        self.before_wait: Callable[[], object] = lambda: None
        self._private = SimpleNamespace(worker=SimpleNamespace(shutdown=lambda: None))
        self.results: list[object] = []
        self.done: list[Any] = []

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=self.address)

    def nodes(self) -> list[Any]:
        return [{"Alive": True, "Resources": {"CPU": 1}}]

    def remote(self, function: Callable[..., object]) -> Any:
        def call(*arguments: object) -> int:
            self.results.append(function(*arguments))
            self.done.append(len(self.results) - 1)
            return len(self.results) - 1

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=call))

    def wait(self, references: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        self.before_wait()
        return [reference for reference in references if reference in self.done][:1], []

    def get(self, reference: int) -> object:
        return self.results[reference]


@pytest.fixture
def ray_here(listener: socket.socket) -> RayHere:
    return RayHere(listener)


@pytest.mark.usefixtures("project")
def test_after_the_head_is_lost_the_same_call_computes_what_is_missing(
    ray_here: RayHere, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(paths.root()))
    monkeypatch.setattr(cluster_head, "SILENT_AT_MOST", 0.0)
    monkeypatch.setattr(cluster, "connect", lambda address: Head(ray_here, address))
    waits: list[int] = []

    def die_at_the_second_wait() -> None:
        waits.append(0)
        if len(waits) == 2:
            listener.close()
            ray_here.done.clear()
            shutil.rmtree(letters.folder({"letter": "b"}))

    ray_here.before_wait = die_at_the_second_wait
    params = ClusterParams(address="head:6379")
    with pytest.raises(HeadLost, match=r"^cluster.address: head:6379 given, but the head of that Ray cluster"):
        compute_letters(params)
    assert letters.is_stored(letter="a")
    assert not list((paths.root() / "runs" / ".cluster").iterdir())
    assert cluster.try_lock(f"cluster-{letters.key({'letter': 'b'})}") is not None, "no other run would compute it"
    with socket.create_server(("127.0.0.1", 0)) as new_listener:
        new_ray = RayHere(new_listener)
        monkeypatch.setattr(cluster, "connect", lambda address: Head(new_ray, address))
        assert [result.facts["process"] for result in compute_letters(params)] == [os.getpid()] * 2
        assert len(new_ray.results) == 1, "the first letter was not computed again"


def test_a_head_that_is_silent_for_a_while_is_waited_for(
    ray_here: RayHere, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    ray_here.shutdown = lambda: ended.append("shutdown")
    head = Head(ray_here, "auto")
    assert head.wait(["x"], 1.0) == []
    listener.close()
    assert head.wait(["x"], 1.0) == []
    monkeypatch.setattr(cluster_head, "SILENT_AT_MOST", 0.0)
    with pytest.raises(HeadLost, match="is gone"):
        head.wait(["x"], 1.0)
    assert head.is_lost
    assert ended == ["shutdown"]


def test_a_connection_that_ray_cannot_end_holds_nothing_up(
    ray_here: RayHere, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_head, "SILENT_AT_MOST", 0.0)
    monkeypatch.setattr(cluster_head, "ENDS_WITHIN", 0.01)
    unregistered: list[object] = []
    monkeypatch.setattr(cluster_head.atexit, "unregister", unregistered.append)
    released = threading.Event()
    ray_here.shutdown = released.wait
    head = Head(ray_here, "auto")
    listener.close()
    with pytest.raises(HeadLost):
        head.wait(["x"], 1.0)
    assert unregistered == [ray_here._private.worker.shutdown]
    released.set()


def test_the_end_of_rays_client_is_that_line_and_the_error_of_a_task_is_not(ray_here: RayHere) -> None:
    class ServerGone(RayError, ConnectionError):
        """A task's own error, as Ray raises it."""

    def refuse(error: type[Exception]) -> None:
        raise error("client is shutting down")

    ray_here.before_wait = lambda: refuse(ServerGone)
    with pytest.raises(ServerGone):
        Head(ray_here, f"ray://{ray_here.address}").wait(["x"], 1.0)
    ray_here.before_wait = lambda: refuse(ConnectionError)
    with pytest.raises(HeadLost):
        Head(ray_here, f"ray://{ray_here.address}").wait(["x"], 1.0)

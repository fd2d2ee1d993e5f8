"""Tasks computed on the nodes of a Ray cluster. Results travel through the project's folder if all nodes see it, or the shared store.

Invariant: a node computes a task by the same code with the same inputs, and stores it under the same key, as this machine would. So a
run has the same digests with a cluster and without. Whatever is lost with a node is computed again on another one.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from agentevol.data.artifact_folder import VISIBLE_WITHIN
from agentevol.settings.cluster import ClusterParams
from tasks import paths, shared_store
from tasks.artifact import store_folder
from tasks.cached_task import CachedTask
from tasks.cluster_head import Head, connect
from tasks.cluster_node import ClusterError, NodeFolder, code_identity, compute_here, results_in, tokens
from tasks.cluster_progress import ProgressReceiver
from tasks.locks import exclusive_lock, try_lock
from tasks.progress import ProgressCallback, progress_bar

LOST_AT_MOST = 3
"""How often a task may be lost with its node before the run gives up."""
SUBMITTED_AT_MOST = 500
"""Calls of a task that are on the cluster at the same time; each holds an open file here."""

__all__ = ["ClusterError", "Work", "compute_on_cluster"]

Call = dict[str, Any]
"""The inputs of one call of a task."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the calls of a task are, and what one of them needs where cluster.num_cpus and cluster.num_gpus are null.

    `processes`: the processes of one call; each needs `cpus` processors and a GPU. `remedy`: the parameters that lower the need.
    `threads`: those of PyTorch in the process of the call; None: as they are there. `shows_steps`: its progress is that of the one call.
    """

    name: str
    cpus: int
    remedy: str
    processes: int = 1
    threads: int | None = None
    shows_steps: bool = False


def compute_on_cluster(task: CachedTask, calls: Sequence[Mapping[str, Any]], cluster: ClusterParams, work: Work, *, title: str) -> None:
    """Compute those `calls` (the inputs of `task`) on the cluster whose results are missing; returns when all of them are in the store.

    Without an address it does nothing. What another run on this machine computes at the moment is waited for, and takes no place on a
    node. Raises ClusterError, or the error of a call as the task raised it.
    """
    if cluster.address is None:
        return
    missing = [dict(inputs) for inputs in calls if not task.is_stored(**inputs)]
    while missing:
        others = _compute_unclaimed(task, missing, cluster, work, title)
        for inputs in others:
            with exclusive_lock(_claim_name(task, inputs), f"{title}: another run computes a part of it; waiting for its result"):
                pass
        missing = [inputs for inputs in others if not task.is_stored(**inputs)]


def _compute_unclaimed(task: CachedTask, calls: Sequence[Call], cluster: ClusterParams, work: Work, title: str) -> list[Call]:
    """Compute the calls that no other run on this machine computes; returns the others."""
    others, computed, waiting = list[Call](), list[Call](), deque(calls)
    claimed, pending = deque[tuple[Call, FileLock]](), dict[Any, FileLock]()
    with progress_bar(title) as progress, _Submission(task, cluster, work, title, progress) as submission:
        try:
            while waiting or pending:
                while waiting and len(pending) + len(claimed) < SUBMITTED_AT_MOST:
                    inputs = waiting.popleft()
                    if (claim := try_lock(_claim_name(task, inputs))) is None:
                        others.append(inputs)
                    else:
                        claimed.append((inputs, claim))
                for is_cached in task.are_cached([inputs for inputs, _ in claimed]):
                    inputs, claim = claimed[0]
                    if is_cached:
                        claim.release()
                    else:
                        pending[submission.submit(inputs)] = claim
                        computed.append(inputs)
                    claimed.popleft()
                for reference in submission.finished(list(pending)):
                    pending.pop(reference).release()
                if not work.shows_steps:
                    progress(len(calls) - len(waiting) - len(pending), len(calls))
        finally:
            submission.cancel(pending)  # after an error or Ctrl-C, the run does not need these results
            for claim in [*pending.values(), *(claim for _, claim in claimed)]:
                claim.release()
    _wait_until_visible(task, computed)
    return others


def _claim_name(task: CachedTask, inputs: Call) -> str:
    """The lock that keeps other runs on this machine from starting the call."""
    return f"cluster-{task.key(inputs)}"


class _Submission:
    """The calls of a task that are on the cluster. It connects with the first of them."""

    def __init__(self, task: CachedTask, cluster: ClusterParams, work: Work, title: str, progress: ProgressCallback) -> None:
        self._task, self._cluster, self._work, self._title, self._progress = task, cluster, work, title, progress
        self._head: Head | None = None
        self._receiver: ProgressReceiver | None = None
        self._published: set[str] = set()

    def __enter__(self) -> _Submission:
        self._token = shared_token()
        return self

    def __exit__(self, *_: object) -> None:
        self._token.unlink(missing_ok=True)
        if self._receiver and self._head and not self._head.is_lost:
            self._receiver.close()

    def _connect(self) -> Head:
        assert self._cluster.address is not None
        head = connect(self._cluster.address)
        ray, work, folder = head.ray, self._work, self._cluster.folder
        self._remote = ray.remote(compute_here).options(
            **resources_of(ray, self._cluster, work),
            max_retries=LOST_AT_MOST,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
            name=self._task.name,
        )
        place = NodeFolder(folder or str(paths.root()), None if folder else self._token.name, shared_store.shared_url())
        self._common = (place, code_identity(), self._task.__module__, self._task.name)
        if work.shows_steps:
            self._receiver = ProgressReceiver(ray, self._title, self._progress)
        return head

    def submit(self, inputs: Call) -> Any:
        """The reference of the call. Raises ClusterError."""
        if self._head is None:
            self._head = self._connect()
        for artifact in results_in(inputs):
            if artifact.path not in self._published:
                shared_store.publish(store_folder(artifact), artifact.digest)
                self._published.add(artifact.path)
        with self._head.guard():
            board = self._receiver.board if self._receiver else None
            return self._remote.remote(*self._common, inputs, self._work.threads, board)

    def finished(self, pending: list[Any]) -> list[Any]:
        """Wait a while for a call; returns those that are done. Raises the error of a call, or ClusterError."""
        if not pending or self._head is None:
            return []
        done = self._head.wait(pending, 1.0 if self._receiver else 5.0)
        if self._receiver:
            with self._head.guard():
                self._receiver.show()
        for reference in done:
            _result(self._head, reference, self._work)
        return done

    def cancel(self, pending: Iterable[Any]) -> None:
        if self._head and not self._head.is_lost:
            for reference in pending:
                self._head.ray.cancel(reference, force=True)


def resources_of(ray: Any, cluster: ClusterParams, work: Work, nodes: int = 1) -> dict[str, int]:
    """The processors and GPUs of one call on each of `nodes` nodes. Raises ClusterError if too few nodes have them."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = cluster.num_gpus if cluster.num_gpus is not None else int(any(node.get("GPU", 0) >= 1 for node in alive))
    wanted = {"num_cpus": (cluster.num_cpus or work.cpus) * work.processes, "num_gpus": gpus * work.processes}
    if sum(node.get("CPU", 0) >= wanted["num_cpus"] and node.get("GPU", 0) >= wanted["num_gpus"] for node in alive) < nodes:
        have = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in alive)
        where = "on one node" if nodes == 1 else f"on each of {nodes} nodes"
        raise ClusterError(
            f"cluster: {work.name} needs {wanted['num_cpus']} processors and {wanted['num_gpus']} GPUs {where}, but the nodes have"
            f" {have}; lower {work.remedy}, cluster.num_cpus or cluster.num_gpus"
        )
    return wanted


def _result(head: Head, reference: Any, work: Work) -> None:
    exceptions = head.ray.exceptions
    try:
        with head.guard():
            head.ray.get(reference)
    except exceptions.RayTaskError as error:
        raise error_of_task(error) from None
    except exceptions.RayError as error:
        head.require()  # with the head, all nodes are lost
        raise ClusterError(
            f"cluster: {work.name} was lost with its node or process {LOST_AT_MOST + 1} times ({_last_line(error)});"
            " run the same command again, or lower what it needs (rollout.concurrency, finetune.micro_batch_tokens)"
        ) from None


def error_of_task(error: Any) -> Exception:
    """The error as the task raised it on the node (`error`: a RayTaskError), or a ClusterError if Ray does not know it."""
    return error.cause if isinstance(error.cause, Exception) else ClusterError(f"cluster: a node failed: {_last_line(error)}")


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def shared_token() -> Path:
    """A file that shows a node that it sees this project's folder."""
    token = tokens(paths.root()) / uuid.uuid4().hex
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    return token


def _wait_until_visible(task: CachedTask, calls: Sequence[Mapping[str, Any]]) -> None:
    deadline = time.monotonic() + VISIBLE_WITHIN

    def wait(inputs: Mapping[str, Any]) -> None:
        while not task.is_cached(**inputs):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"cluster: a node stored {task.folder(inputs)}, but this machine does not see it after {VISIBLE_WITHIN:.0f} s;"
                    " all nodes need the same project folder on a shared file system, or a shared store and cluster.folder"
                )
            time.sleep(0.5)
            list(os.scandir(paths.root()))  # makes NFS look again

    shared_store.look_up_each(wait, calls)

"""Tasks computed on the nodes of a Ray cluster. Results travel through the project's folder if all nodes see it, or the shared store.

Invariant: a node computes a task by the same code with the same inputs, and stores it under the same key, as this machine would. So a
run has the same digests with a cluster and without. Whatever is lost with a node is computed again on another one.
"""

from __future__ import annotations

import importlib
import os
import platform
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json, is_complete, sha256_file
from agentevol.settings.cluster import ClusterParams
from tasks import paths, shared_store
from tasks.artifact import PRODUCT, Artifact, is_in_store, store_folder
from tasks.cached_task import CachedTask
from tasks.progress import progress_bar

LOST_AT_MOST = 3
"""How often a task may be lost with its node before the run gives up."""
ANSWERS_WITHIN = 10.0
"""Seconds in which the cluster's head must accept a connection."""
VISIBLE_WITHIN = 90.0
"""Seconds after which a shared file system must show what another machine wrote (NFS remembers for up to a minute that a name is free)."""
_PACKAGES = ("agentevol", "envs", "tasks", "flows")
_SAME_NUMBERS = ("torch", "transformers", "numpy")
"""Libraries whose version can change a result."""


class ClusterError(RuntimeError):
    """The cluster cannot compute the run's tasks; the message says why and what to do."""


def compute_on_cluster(task: CachedTask, calls: Sequence[Mapping[str, Any]], cluster: ClusterParams, *, cpus: int, title: str) -> None:
    """Compute those `calls` (the inputs of `task`) on the cluster whose results are missing; returns when all of them are in the store.

    Without an address it does nothing. `cpus`: the processors of one call if cluster.num_cpus is null. Raises ClusterError, or the error
    of a call as the task raised it.
    """
    missing = [dict(inputs) for inputs in calls if not task.is_cached(**inputs)]
    if not missing or cluster.address is None:
        return
    ray = _connect(cluster.address)
    for artifact in {artifact.path: artifact for inputs in missing for artifact in _results_in(inputs)}.values():
        shared_store.publish(store_folder(artifact), artifact.digest)
    resources = _resources(ray, cluster, cpus)
    token = _shared_token()
    remote = ray.remote(compute_here).options(
        **resources, max_retries=LOST_AT_MOST, retry_exceptions=False, scheduling_strategy="SPREAD", name=task.name
    )
    place = NodeFolder(cluster.folder or str(paths.root()), None if cluster.folder else token.name, shared_store.shared_url())
    common = (place, code_identity(), task.__module__, task.name)
    pending = [remote.remote(*common, inputs) for inputs in missing]
    try:
        with progress_bar(title) as progress:
            total = len(pending)
            while pending:
                done, pending = ray.wait(pending, num_returns=1, timeout=5.0)
                for reference in done:
                    _result(ray, reference)
                progress(total - len(pending), total)
    finally:
        for reference in pending:  # after an error or Ctrl-C, the run does not need these results
            ray.cancel(reference, force=True)
        token.unlink(missing_ok=True)
    _wait_until_visible(task, missing)


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Where a node works: in the project's folder, which must have the file `token` of the head, or in one of its own (`token`: None).

    `store_url`: the shared store, if the run has one.
    """

    root: str
    token: str | None
    store_url: str | None


def compute_here(place: NodeFolder, code: Mapping[str, str], module: str, name: str, inputs: Mapping[str, Any]) -> str:
    """On a node: compute one call of the task `name` of `module`; returns the node's name. Raises ClusterError."""
    node = platform.node()
    if difference := _difference(code, code_identity()):
        raise ClusterError(f"node {node} has {difference}; install the same version on all nodes")
    if place.token and not (_tokens(Path(place.root)) / place.token).exists():
        raise ClusterError(
            f"node {node} does not see {place.root} as this machine does; all nodes need the project's folder at the same path,"
            " on a shared file system (NFS, Lustre, ...), or a folder of their own (cluster.folder)"
        )
    Path(place.root).mkdir(parents=True, exist_ok=True)
    os.chdir(place.root)
    os.environ["DVC_ROOT"] = place.root  # the project's root for tasks.paths
    _use_shared_store(place.store_url)
    for artifact in _results_in(inputs):
        _fetch(store_folder(artifact).name, node)
    task: CachedTask = getattr(importlib.import_module(module), name)
    task.compute(**inputs)
    return node


def _results_in(inputs: Mapping[str, Any]) -> list[Artifact]:
    return [value for value in inputs.values() if isinstance(value, Artifact) and is_in_store(value)]


def _fetch(name: str, node: str) -> None:
    """Copy an input from the shared store if it is missing here. Raises ClusterError, RemoteError."""
    with paths.lock(name):
        if not is_complete(paths.store() / name) and not shared_store.fetch(name):
            raise ClusterError(f"node {node} has no {name}, and the shared store has none either; run the same command again")


_use_shared_store = lru_cache(maxsize=1)(shared_store.use_shared_store)
"""Connects once per process and URL."""


@lru_cache(maxsize=1)
def code_identity() -> dict[str, str]:
    """What must be equal on all nodes, by name: the product's files, and the versions of libraries that can change a result."""
    libraries = {name: version(name) for name in _SAME_NUMBERS}
    return {PRODUCT: digest_json(_files())[:12], **libraries}


def _files() -> dict[str, str]:
    """The digests of the product's files, by package and path; nothing is imported for them."""
    folders = {
        package: Path(spec.submodule_search_locations[0])
        for package in _PACKAGES
        if (spec := find_spec(package)) and spec.submodule_search_locations
    }
    return {
        f"{package}/{file.relative_to(folder).as_posix()}": sha256_file(file)
        for package, folder in folders.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def _difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    different = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return " and ".join(f"{name} {found.get(name, 'missing')} instead of {expected.get(name, 'none')}" for name in different)


def _connect(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        try:
            _check_reachable(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except Exception as error:  # Ray raises whatever its transport raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"cluster.address: {address} given, but no Ray cluster answers there ({reason[:200]});"
                " start one with `ray start --head`, or set cluster.address to null"
            ) from None
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes. Raises OSError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()


def _resources(ray: Any, cluster: ClusterParams, cpus: int) -> dict[str, int]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = cluster.num_gpus if cluster.num_gpus is not None else int(any(node.get("GPU", 0) >= 1 for node in nodes))
    wanted = {"num_cpus": cluster.num_cpus or cpus, "num_gpus": gpus}
    if not any(node.get("CPU", 0) >= wanted["num_cpus"] and node.get("GPU", 0) >= gpus for node in nodes):
        have = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
        raise ClusterError(
            f"cluster: a chunk needs {wanted['num_cpus']} processors and {gpus} GPUs on one node, but the nodes have {have};"
            " lower rollout.num_workers, cluster.num_cpus or cluster.num_gpus"
        )
    return wanted


def _result(ray: Any, reference: Any) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise ClusterError(f"cluster: a node failed: {_last_line(error)}") from None
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"cluster: a task was lost with its node or process {LOST_AT_MOST + 1} times ({_last_line(error)});"
            " run the same command again, or lower what one chunk needs (rollout.concurrency)"
        ) from None


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _tokens(root: Path) -> Path:
    return root / "runs" / ".cluster"


def _shared_token() -> Path:
    token = _tokens(paths.root()) / uuid.uuid4().hex
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    return token


def _wait_until_visible(task: CachedTask, calls: Sequence[Mapping[str, Any]]) -> None:
    deadline = time.monotonic() + VISIBLE_WITHIN
    for inputs in calls:
        while not task.is_cached(**inputs):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"cluster: a node stored {task.folder(inputs)}, but this machine does not see it after {VISIBLE_WITHIN:.0f} s;"
                    " all nodes need the same project folder on a shared file system, or a shared store and cluster.folder"
                )
            time.sleep(0.5)
            list(os.scandir(paths.root()))  # makes NFS look again

"""What a node of a Ray cluster does: compute one call of a task in its folder, if it has the same code as the machine that asks.

Invariant: nothing here decides where a task runs, and a result depends on the inputs alone.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json, is_complete, sha256_file
from tasks import paths, shared_store
from tasks.artifact import PRODUCT, Artifact, is_in_store, store_folder
from tasks.cached_task import CachedTask
from tasks.cluster_progress import forward_progress
from tasks.progress_board import ProgressBoard

_PACKAGES = ("agentevol", "envs", "tasks", "flows")
_SAME_NUMBERS = ("torch", "transformers", "numpy")
"""Libraries whose version can change a result."""


class ClusterError(RuntimeError):
    """The cluster cannot compute the run's tasks; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Where a node works: in the project's folder, which must have the file `token` of the head, or in one of its own (`token`: None).

    `store_url`: the shared store, if the run has one.
    """

    root: str
    token: str | None
    store_url: str | None


def compute_here(
    place: NodeFolder,
    code: Mapping[str, str],
    module: str,
    name: str,
    inputs: Mapping[str, Any],
    threads: int | None = None,
    board: ProgressBoard | None = None,
) -> str:
    """On a node: compute one call of the task `name` of `module`; returns the node's name. Raises ClusterError.

    `threads`: the threads of PyTorch in this process, None: as they are. `board`: gets the progress.
    """
    node = prepare_node(place, code)
    for artifact in results_in(inputs):
        _fetch(store_folder(artifact).name, node)
    task: CachedTask = getattr(importlib.import_module(module), name)
    with _torch_threads(threads), forward_progress(board):
        task.compute(**inputs)
    return node


def prepare_node(place: NodeFolder, code: Mapping[str, str]) -> str:
    """Work in the node's folder from now on; returns the node's name. Raises ClusterError if the code or the folder is another one."""
    node = platform.node()
    if difference := _difference(code, code_identity()):
        raise ClusterError(f"node {node} has {difference}; install the same version on all nodes")
    if place.token and not (tokens(Path(place.root)) / place.token).exists():
        raise ClusterError(
            f"node {node} does not see {place.root} as this machine does; all nodes need the project's folder at the same path,"
            " on a shared file system (NFS, Lustre, ...), or a folder of their own (cluster.folder)"
        )
    Path(place.root).mkdir(parents=True, exist_ok=True)
    os.chdir(place.root)
    os.environ["DVC_ROOT"] = place.root  # the project's root for tasks.paths
    _use_shared_store(place.store_url)
    return node


def results_in(inputs: Mapping[str, Any]) -> list[Artifact]:
    """The inputs that are results of tasks."""
    return [value for value in inputs.values() if isinstance(value, Artifact) and is_in_store(value)]


def tokens(root: Path) -> Path:
    """The folder of the files that show a node whether it sees the project's folder."""
    return root / "runs" / ".cluster"


@lru_cache(maxsize=1)
def code_identity() -> dict[str, str]:
    """What must be equal on all nodes, by name: the product's files, and the versions of libraries that can change a result."""
    libraries = {name: version(name) for name in _SAME_NUMBERS}
    return {PRODUCT: digest_json(_files())[:12], **libraries}


def _fetch(name: str, node: str) -> None:
    """Copy an input from the shared store if it is missing here. Raises ClusterError, RemoteError."""
    with paths.lock(name):
        # The engine needs the policy's digest for every chunk as well, and a policy may have many gigabytes.
        if not is_complete(paths.store() / name, read_again=False) and not shared_store.fetch(name):
            raise ClusterError(f"node {node} has no {name}, and the shared store has none either; run the same command again")


_use_shared_store = lru_cache(maxsize=1)(shared_store.use_shared_store)
"""Connects once per process and URL."""


@contextmanager
def _torch_threads(number: int | None) -> Iterator[None]:
    """The process computes other tasks afterwards, with the threads that it had before."""
    if number is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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

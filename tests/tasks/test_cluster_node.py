"""What a node does for one call of a task, without a cluster."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from agentevol.data import artifact_folder
from tasks import paths
from tasks.artifact import Artifact, store_folder
from tasks.cached_task import CachedTask
from tasks.cluster_node import ClusterError, NodeFolder, code_identity, compute_here
from tests.tasks.slow_tasks import letters, thread_count


@pytest.fixture
def folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> NodeFolder:
    """The project's folder as that of a node."""
    monkeypatch.setenv("DVC_ROOT", str(project))
    return NodeFolder(str(project), None, None)


def compute(folder: NodeFolder, task: CachedTask, threads: int | None = None, **inputs: object) -> Artifact:
    compute_here(folder, code_identity(), task.__module__, task.name, inputs, threads)
    return task.read_artifact(inputs)


def test_an_input_is_read_once_for_all_calls_until_it_changes(folder: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Artifact(**letters.compute(letter="p"))
    monkeypatch.setattr(artifact_folder, "SETTLED_AFTER", 0.0)
    read: list[str] = []
    file_digest = hashlib.file_digest
    monkeypatch.setattr(artifact_folder.hashlib, "file_digest", lambda stream, name: read.append(stream.name) or file_digest(stream, name))
    file = policy.folder / "text"
    for call in range(3):
        compute(folder, thread_count, call=call, policy=policy)
    assert read.count(str(file)) == 1
    file.write_text("damaged")
    with pytest.raises(ClusterError, match=f"has no {store_folder(policy).name}"):
        compute(folder, thread_count, call=3, policy=policy)
    file.write_text("ppp")
    compute(folder, thread_count, call=3, policy=policy)


def test_a_call_has_the_threads_that_the_run_asks_for(folder: NodeFolder) -> None:
    before = torch.get_num_threads()
    assert compute(folder, thread_count, call=0).facts["threads"] == before
    assert compute(folder, thread_count, before + 2, call=1).facts["threads"] == before + 2
    assert torch.get_num_threads() == before
    assert paths.root() == Path(folder.root)

"""A run outside of the cluster (ray://): it plays on the nodes, and ends with one line when the head dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.artifact import Artifact
from tests.servers.ports import free_port
from tests.tasks.ray_nodes import LOOPBACK, OnlyNode, set_node_environment, wait_for
from tests.tasks.slow_tasks import STARTED, WAIT, letters

RUN = """
import sys
from agentevol.settings.cluster import ClusterParams
from tasks import cluster_head
from tasks.cluster import ClusterError, Work, compute_on_cluster
from tests.tasks.slow_tasks import letters

cluster_head.SILENT_AT_MOST = 1.0
calls = [{"letter": letter} for letter in sys.argv[2]]
try:
    compute_on_cluster(letters, calls, ClusterParams(address=sys.argv[1]), Work("a letter", 1, "rollout.num_workers"), title="letters")
except ClusterError as error:
    sys.exit(f"ClusterError: {error}")
"""


class ServedNode(OnlyNode):
    """A head that answers clients."""

    def __init__(self) -> None:
        port = free_port()
        super().__init__(ray_client_server_port=port)
        self.address = f"ray://{LOOPBACK}:{port}"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedNode]:
    pytest.importorskip("ray")
    set_node_environment(monkeypatch)
    node = ServedNode()
    yield node
    node.cluster.shutdown()


@pytest.mark.slow
def test_a_run_outside_of_the_cluster_plays_on_it_and_ends_with_a_line_when_its_head_dies(node: ServedNode, project: Path) -> None:
    subprocess.run([sys.executable, "-c", RUN, node.address, "ab"], check=True, timeout=900)
    results = [letters.read_artifact({"letter": letter}) for letter in "ab"]
    assert os.getpid() not in [result.facts["process"] for result in results]
    (project / "runs").rename(project / "before")
    assert [result.digest for result in results] == [Artifact(**letters.compute(letter=letter)).digest for letter in "ab"]

    (project / WAIT).touch()
    run = subprocess.Popen([sys.executable, "-c", RUN, node.address, "c"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((project / STARTED).glob("c-*")))
    node.kill_machine()
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("ClusterError: ")]
    assert line.startswith(f"ClusterError: cluster.address: {node.address} given, but the head of that Ray cluster ")
    assert "Start the cluster again and run the same command; finished work is kept" in line
    assert "Traceback" not in errors

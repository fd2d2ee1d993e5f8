"""A run outside of the cluster (ray://): it plays on the nodes, and ends with one line when the head dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.artifact import Artifact
from tests.servers.ports import free_port
from tests.tasks.ray_nodes import LOOPBACK, Nodes, wait_for
from tests.tasks.slow_tasks import STARTED, WAIT, letters

ROOT = Path(__file__).parents[2]
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


class ServedNode(Nodes):
    """A head that computes one task at a time, and answers clients."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        port = free_port()
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "no_monitor": True, "ray_client_server_port": port, **self._options()}
        )
        self.address = f"ray://{LOOPBACK}:{port}"

    def kill_head(self) -> None:
        """kill -9 of all its processes, as a power failure would."""
        daemons = [psutil.Process(daemon.process.pid) for found in self.cluster.head_node.all_processes.values() for daemon in found]
        for process in {child for daemon in daemons for child in daemon.children(recursive=True)} | set(daemons):
            process.kill()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedNode]:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # so that the node finds the tasks of the tests
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default, which starves it beside other tests
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
    node.kill_head()
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("ClusterError: ")]
    assert line.startswith(f"ClusterError: cluster.address: {node.address} given, but the head of that Ray cluster ")
    assert "Start the cluster again and run the same command; finished work is kept" in line
    assert "Traceback" not in errors

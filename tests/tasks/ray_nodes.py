"""A real Ray cluster for tests: nodes as processes of this machine, which can be killed."""

from __future__ import annotations

import time
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentevol.settings.cluster import ClusterParams
from tests.servers.ports import free_port

LOOPBACK = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the address of this machine in its network."""
OBJECT_STORE_BYTES = 80 * 1024**2
ROOT = Path(__file__).parents[2]
_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def set_node_environment(patch: pytest.MonkeyPatch) -> None:
    """The environment variables of nodes that start from now on."""
    patch.setenv("PYTHONPATH", str(ROOT))  # so that they find the tasks of the tests
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_worker_niceness", "0")  # 15 by default, which starves them beside other tests
    patch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "300")  # a client's server needs more than 30 s beside other tests


class Nodes:
    """Three nodes on this machine: the head computes nothing, each of the others one task at a time."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "no_monitor": True, **self._options()})
        self.workers = [self.add(), self.add()]
        self.params = ClusterParams(address=self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, **self._options())

    def kill(self, node: Any) -> None:
        """kill -9 of the node's daemon and of all its processes, as a power failure would.

        The daemon is stopped first, so that it does not report its dead processes. A process that outlived it would still answer, and an
        answer for a task that has moved to another node aborts Ray in the process of the run.
        """
        daemon = psutil.Process(node.all_processes["raylet"][0].process.pid)
        daemon.suspend()
        for process in daemon.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers.remove(node)

    def _options(self) -> dict[str, Any]:
        # With given ports a node does not wait for its agents, which start slowly beside other tests.
        ports = {name: free_port() for name in _AGENT_PORTS}
        return {"object_store_memory": OBJECT_STORE_BYTES, "node_ip_address": LOOPBACK, "include_dashboard": False, **ports}

    def kill_the_node_of(self, process_id: int) -> None:
        """Kill the node of a task's process; another node takes its place."""
        parents = set(map(attrgetter("pid"), psutil.Process(process_id).parents()))
        self.kill(next(node for node in self.workers if node.all_processes["raylet"][0].process.pid in parents))
        self.workers.append(self.add())


class OnlyNode(Nodes):
    """A cluster of a head that computes one task at a time. `options`: of the head."""

    def __init__(self, **options: Any) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "no_monitor": True, **options, **self._options()})
        self.params = ClusterParams(address=self.cluster.address)

    def kill_head(self) -> None:
        """kill -9 of its daemons; the processes of its tasks live on for a while."""
        for name in ("gcs_server", "raylet"):
            for daemon in self.cluster.head_node.all_processes[name]:
                daemon.process.kill()

    def kill_machine(self) -> None:
        """kill -9 of all its processes, as a power failure would."""
        daemons = [psutil.Process(daemon.process.pid) for found in self.cluster.head_node.all_processes.values() for daemon in found]
        for process in {child for daemon in daemons for child in daemon.children(recursive=True)} | set(daemons):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def wait_for(condition: Any, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

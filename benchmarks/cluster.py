"""What a Ray cluster costs and gives: `python -m benchmarks.cluster [--chunks 6] [--steps 360]`.

Chunks of episodes in an environment that waits 50 ms per step, so that processors hardly matter, are played on this machine and then on
clusters of one, two and three nodes, which are processes of this machine on a loopback address. Every chunk must have the same digest
everywhere.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agentevol.settings.cluster import ClusterParams
from benchmarks.results import machine, record
from benchmarks.waiting import ROUNDS, play_chunk
from tasks.cluster import Work, compute_on_cluster
from tests.flows.tiny import make_model

LOOPBACK = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the address of this machine in its network."""
NODES = (1, 2, 3)


@contextmanager
def cluster_of(nodes: int) -> Iterator[ClusterParams]:
    """A head without processors and `nodes` nodes of one processor."""
    import ray
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"object_store_memory": 80 * 1024**2, "node_ip_address": LOOPBACK, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, **options)
        yield ClusterParams(address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def play(model: Path, chunks: int, steps: int, params: ClusterParams | None) -> tuple[float, list[str]]:
    """The seconds of all chunks in a new project folder, and their digests."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        calls = [{"model": str(model), "chunk": chunk, "steps": steps} for chunk in range(chunks)]
        start = time.perf_counter()
        if params:
            compute_on_cluster(play_chunk, calls, params, Work("a chunk", 1, "rollout.num_workers"), title="chunks")
        artifacts = [play_chunk.compute(**inputs) for inputs in calls]
        seconds = time.perf_counter() - start
        os.chdir("/")
        return seconds, [artifact["digest"] for artifact in artifacts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=6)
    parser.add_argument("--steps", type=int, default=360, help="steps of one chunk; 360 take about 20 s")
    parser.add_argument("--json", type=Path, help="the results file")
    arguments = parser.parse_args()
    results_file = arguments.json.resolve() if arguments.json else None
    os.environ |= {"PYTHONPATH": str(Path(__file__).parents[1]), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make_model(model)
        play(model, 1, ROUNDS, None)  # imports
        torch.set_num_threads(1)  # as Ray does on a node of one processor
        here, expected = play(model, arguments.chunks, arguments.steps, None)
        print(f"{machine()}\nthis machine: {here:.1f} s, {here / arguments.chunks:.1f} s per chunk", flush=True)
        times = {}
        for nodes in NODES:
            with cluster_of(nodes) as params:
                play(model, nodes, ROUNDS, params)  # starts the processes of the nodes
                times[nodes], digests = play(model, arguments.chunks, arguments.steps, params)
            if digests != expected:
                raise SystemExit(f"{nodes} nodes: other digests than on this machine")
            print(f"{nodes} nodes: {times[nodes]:.1f} s, {times[1] / times[nodes]:.2f} times as fast as one node", flush=True)
    print(f"overhead of one node: {100 * (times[1] / here - 1):+.1f} %")
    ratios = {"this machine / one node": here / times[1], "one node / three nodes": times[1] / times[3]}
    record(results_file, "cluster", ratios, {"chunks": arguments.chunks, "seconds per chunk": round(here / arguments.chunks, 1)})


if __name__ == "__main__":
    main()

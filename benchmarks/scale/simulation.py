"""A run on many nodes, computed from the costs of its parts (benchmarks/scale/costs.py measures them).

Invariant: the parts follow each other as they do in flows/evolve.py, tasks/rollout.py and tasks/cluster.py. The head does its work for one
chunk after the other, but waits for several answers of S3 at once; nodes play at the same time; nothing else overlaps. Training is left
out: it takes the same time whatever number of nodes plays.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, fields

from tasks.shared_store import LOOK_UPS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured costs. Seconds are processor seconds; those of the head include its Prefect server.

    `task_run`: Prefect's seconds for a task whose result is stored. `task_run_bytes`: of Prefect's database, per task run.
    `look_up`: finding that a result is missing in `runs/store`. `write`: storing a chunk there. `write_per_folder`: what each folder that
    `runs/store` has already adds to that.
    `remote_look_up`, `remote_write`, `remote_read`: the same at a shared store on S3, on the side of the client; `remote_requests`: the
    requests of the three. `trajectory`: all steps on data, per trajectory. `trajectory_bytes`: in a chunk. `policy`: MLflow's record of a
    policy. `policy_bytes`: of its database. `page_row`: Prefect's page of the run, per policy in its table. `engine`: loading a tiny model.
    `hash_bytes`: bytes per second of SHA-256.
    """

    task_run: float
    task_run_bytes: float
    look_up: float
    write: float
    write_per_folder: float
    remote_look_up: float
    remote_write: float
    remote_read: float
    remote_requests: tuple[int, int, int]
    trajectory: float
    trajectory_bytes: float
    policy: float
    policy_bytes: float
    page_row: float
    engine: float
    hash_bytes: float


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run does, and what is assumed of its machines.

    `trajectories`: explored in all iterations together. `evaluated`: episodes per iteration on AgentEval and the validation split.
    `episode`: seconds of a node per episode, if it plays a chunk. `shared`: whether results travel through S3, and not through a folder.
    `latency`: seconds of one request to it. `at_once`: the results that the head looks up or fetches at the same time. `node_bytes`,
    `store_bytes`: bytes per second that a node, and the store in all, can transfer. `load_bytes`: bytes of weights that a node loads per
    second.
    """

    nodes: int = 1000
    iterations: int = 1000
    trajectories: int = 10_000_000
    evaluated: int = 1000
    chunk_size: int = 10
    episode: float = 2.0
    model_bytes: float = 11e6
    shared: bool = True
    latency: float = 0.02
    at_once: int = LOOK_UPS_AT_ONCE
    node_bytes: float = 1.25e9
    store_bytes: float = 1e10
    load_bytes: float = 2e9


@dataclass(frozen=True, slots=True)
class Iteration:
    """The seconds of the parts of an iteration, in their order, and `busy`: those in which nodes play episodes, added up."""

    look_ups: float
    playing: float
    collecting: float
    task_runs: float
    data: float
    tracking: float
    busy: float

    @property
    def seconds(self) -> float:
        return sum(getattr(self, name) for name in PARTS)


PARTS = tuple(field.name for field in fields(Iteration) if field.name != "busy")
DATA_TASKS = 8
"""Tasks of an iteration besides its chunks: joining (twice), filter, merge, gate, fine-tune, score, summary."""
HASH_PASSES = 1
"""How often a node reads the policy for its digest, for one chunk, if a process plays one chunk only."""


def simulate(costs: Costs, work: Workload, number: int) -> Iteration:
    """The iteration `number`, from 1. What grows over a run grows by the same amount in every iteration."""
    explored, evaluated = explored_chunks(work), -(-work.evaluated // work.chunk_size)
    chunks = explored + evaluated
    folders = (number - 1) * (chunks + DATA_TASKS)
    has_policy: set[int] = set()
    episodes = work.trajectories / work.iterations + work.evaluated
    return Iteration(
        look_ups=2 * chunks * _look_up(costs, work),
        playing=sum(play(costs, work, part, folders, has_policy) for part in (evaluated, explored)),
        collecting=chunks * _read(costs, work, folders),
        task_runs=(chunks + DATA_TASKS) * costs.task_run,
        data=episodes * costs.trajectory,
        tracking=costs.policy + number * costs.page_row,
        busy=episodes * work.episode,
    )


def total_seconds(costs: Costs, work: Workload) -> float:
    """Of all iterations."""
    return work.iterations * (simulate(costs, work, 1).seconds + simulate(costs, work, work.iterations).seconds) / 2


def play(costs: Costs, work: Workload, chunks: int, folders: int, has_policy: set[int]) -> float:
    """Seconds until the nodes have played the chunks: each goes to the node that is free first. `has_policy`: the nodes that need not
    fetch it any more, to which those that play are added."""
    fetching = min(work.nodes, chunks)
    bandwidth = min(work.node_bytes, work.store_bytes / fetching)
    load = costs.engine + work.model_bytes * (HASH_PASSES / costs.hash_bytes + 1 / work.load_bytes)
    store = costs.look_up + costs.write + costs.write_per_folder * (0 if work.shared else folders)
    if work.shared:
        store += costs.remote_look_up + costs.remote_write + (costs.remote_requests[0] + costs.remote_requests[1]) * work.latency
    nodes = [(0.0, node) for node in range(work.nodes)]
    end = 0.0
    for _ in range(chunks):
        start, node = heapq.heappop(nodes)
        fetch = 0.0 if node in has_policy else work.model_bytes / bandwidth
        has_policy.add(node)
        finish = start + fetch + load + work.chunk_size * work.episode + store
        heapq.heappush(nodes, (finish, node))
        end = max(end, finish)
    return end


def explored_chunks(work: Workload) -> int:
    """The chunks of one exploration."""
    return -(-work.trajectories // (work.iterations * work.chunk_size))


def sizes(costs: Costs, work: Workload) -> dict[str, float]:
    """What is left after the run, in bytes or numbers."""
    chunks = work.iterations * (explored_chunks(work) + -(-work.evaluated // work.chunk_size))
    results = chunks + work.iterations * DATA_TASKS
    look_up, write, read = costs.remote_requests
    return {
        "results in the store": results,
        "bytes of chunks": (work.trajectories + work.iterations * work.evaluated) * costs.trajectory_bytes,
        "bytes of policies": work.iterations * work.model_bytes,
        "bytes of Prefect's database": results * costs.task_run_bytes,
        "bytes of MLflow's database": work.iterations * costs.policy_bytes,
        "requests to S3": chunks * (3 * look_up + write + read) + min(chunks, work.nodes * work.iterations) * read,
    }


def _look_up(costs: Costs, work: Workload) -> float:
    remote = costs.remote_look_up + costs.remote_requests[0] * work.latency / work.at_once
    return costs.look_up + (remote if work.shared else 0.0)


def _read(costs: Costs, work: Workload, folders: int) -> float:
    """A result of a node that has a folder of its own is copied into the head's store, one that is in a common folder only looked up."""
    copied = costs.remote_read + costs.remote_requests[2] * work.latency / work.at_once + costs.write_per_folder * folders
    return copied if work.shared else costs.look_up

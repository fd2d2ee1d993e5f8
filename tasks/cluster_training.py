"""A training whose processes are on several nodes of a Ray cluster.

Each node runs the same launcher as a training of several processes on one machine (agentevol/training/launch.py). Ray only chooses the
nodes, tells them the address of the first, and notices what dies. Invariant: all nodes take part from the same checkpoint, or none; when
one is lost, the processes of the others are ended, and the training starts again from its last checkpoint.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import VISIBLE_WITHIN
from agentevol.settings.cluster import ClusterParams
from agentevol.training.launch import LaunchFailed, Machine, ProcessLost, Progress, run_processes
from tasks import paths
from tasks.cluster import LOST_AT_MOST, Work, error_of_task, resources_of, shared_token
from tasks.cluster_head import Head, connect
from tasks.cluster_node import ClusterError, NodeFolder, code_identity, prepare_node
from tasks.cluster_progress import ProgressReceiver, forward_progress
from tasks.progress import progress_bar, say
from tasks.progress_board import ProgressBoard

OTHERS_END_WITHIN = 120.0
"""Seconds that the other nodes get after one has failed, so that Ray can notice which node was lost."""


class NodesLost(RuntimeError):
    """A node or a process of the training was lost."""


class NodesTraining:
    """Starts the processes of a training on the nodes of a cluster (a StartProcesses of agentevol.training.launch)."""

    def __init__(self, cluster: ClusterParams, machines: int, work: Work, title: str) -> None:
        """`work`: what one node of `machines` does, and needs."""
        self.cluster, self.machines, self.work, self.title = cluster, machines, work, title

    def __call__(self, config_file: Path, spec: Mapping[str, Any], progress: Progress | None) -> dict[str, Any]:
        """Raises ClusterError, LaunchFailed."""
        assert self.cluster.address is not None
        head = connect(self.cluster.address)
        resources = resources_of(head.ray, self.cluster, self.work, nodes=self.machines)
        for _ in range(LOST_AT_MOST + 1):
            try:
                facts, digest = self._train(head, resources, config_file, spec, progress)
            except NodesLost as lost:
                say(f"{self.title}: {lost}; it starts again from its last checkpoint")
                continue
            _wait_for_model(Path(spec["output_dir"]), digest)
            return facts
        raise ClusterError(
            f"cluster: {self.title} lost a node or process {LOST_AT_MOST + 1} times; run the same command again, or lower what it needs"
            " (finetune.micro_batch_tokens)"
        )

    def _train(
        self, head: Head, resources: dict[str, int], config_file: Path, spec: Mapping[str, Any], progress: Progress | None
    ) -> tuple[dict[str, Any], str]:
        """The facts and the model's digest. Raises NodesLost, ClusterError, LaunchFailed."""
        from ray.util.placement_group import remove_placement_group

        ray = head.ray
        token = shared_token()
        receiver = ProgressReceiver(ray, self.title, progress or (lambda *_: None))
        group = self._reserve(head, resources)
        pending: list[Any] = []
        try:
            found = self._on_node(ray, free_address, resources, group, 0).remote()
            while not head.wait([found], 5.0):
                pass
            address, port = self._result(ray, found)
            place, code = NodeFolder(str(paths.root()), token.name, None), code_identity()
            for rank in range(self.machines):
                machine = Machine(rank, self.machines, address, port)
                remote = self._on_node(ray, train_here, resources, group, rank)
                pending.append(remote.remote(place, code, config_file.name, config_file.read_text(), spec, machine, receiver.board))
            first, failures, deadline = pending[0], list[Exception](), float("inf")
            while pending and time.monotonic() < deadline:
                done = head.wait(pending, 1.0)
                pending = [reference for reference in pending if reference not in done]
                receiver.show()
                for reference in done:
                    try:
                        self._result(ray, reference)
                    except (LaunchFailed, NodesLost) as error:
                        if isinstance(error, LaunchFailed) and error.has_known_cause:
                            raise
                        failures.append(error)
                        deadline = min(deadline, time.monotonic() + OTHERS_END_WITHIN)
                if any(isinstance(error, NodesLost | ProcessLost) for error in failures):
                    break
            if failures:
                head.require()  # with the head, all nodes are lost
                raise _cause(failures)
            facts, digest = ray.get(first)
            return facts, digest
        finally:
            if not head.is_lost:
                for reference in pending:
                    ray.cancel(reference, force=True)
                remove_placement_group(group)
                receiver.close()
            token.unlink(missing_ok=True)

    def _reserve(self, head: Head, resources: dict[str, int]) -> Any:
        """A place on each of several nodes, at the same time; waits until they are free."""
        from ray.util.placement_group import placement_group

        bundle = {"CPU": resources["num_cpus"], **({"GPU": resources["num_gpus"]} if resources["num_gpus"] else {})}
        group = placement_group([bundle] * self.machines, strategy="STRICT_SPREAD")
        with progress_bar(f"{self.title}: waiting for {self.machines} free nodes"):
            while not group.wait(5):
                head.check()
        return group

    def _on_node(self, ray: Any, function: Any, resources: dict[str, int], group: Any, rank: int) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        return ray.remote(function).options(**resources, max_retries=0, scheduling_strategy=place, name=function.__name__)

    def _result(self, ray: Any, reference: Any) -> Any:
        """Raises NodesLost, or the error of the function."""
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error_of_task(error) from None
        except ray.exceptions.RayError as error:
            raise NodesLost(f"a node or its process was lost ({type(error).__name__})") from None


def _cause(failures: list[Exception]) -> Exception:
    """What a training failed of: a lost process or node, whatever the others say of the connection to it."""
    for error in failures:
        if isinstance(error, ProcessLost):
            return NodesLost(str(error))
        if isinstance(error, NodesLost):
            return error
    return failures[0]


def free_address() -> tuple[str, int]:
    """On the first node: its address, and a port that is free at the moment."""
    import ray

    address: str = ray.util.get_node_ip_address()
    with socket.socket() as listener:
        listener.bind((address, 0))
        return address, listener.getsockname()[1]


def train_here(
    place: NodeFolder,
    code: Mapping[str, str],
    config_name: str,
    config: str,
    spec: Mapping[str, Any],
    machine: Machine,
    board: ProgressBoard,
) -> tuple[dict[str, Any], str]:
    """On a node: run its processes of the training; returns the facts and the digest of the model, on the first node.

    `config`: the text of the file `config_name` of accelerate. Raises ClusterError, LaunchFailed.
    """
    from agentevol.models import model_digest

    prepare_node(place, code)
    with tempfile.TemporaryDirectory() as temporary, forward_progress(board if machine.rank == 0 else None):
        config_file = Path(temporary) / config_name
        config_file.write_text(config)
        with progress_bar("training") as progress:
            facts = run_processes(config_file, spec, progress, machine)
    return facts, model_digest(Path(spec["output_dir"])) if machine.rank == 0 else ""


def _wait_for_model(folder: Path, digest: str) -> None:
    """Wait until this machine sees the model that the first node wrote. Raises ClusterError."""
    from agentevol.models import model_digest

    deadline = time.monotonic() + VISIBLE_WITHIN
    while not any(folder.iterdir()) or model_digest(folder) != digest:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"cluster: a node wrote a model to {folder}, but this machine does not see it after {VISIBLE_WITHIN:.0f} s;"
                " all nodes of a training need the project's folder, on a shared file system"
            )
        time.sleep(0.5)

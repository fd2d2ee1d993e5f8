"""A real Ray cluster of three nodes, each with processes of its own, computes tasks as this machine would, whatever dies."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentevol.data.dataset import read_dataset, write_instructions
from agentevol.models import model_digest
from agentevol.rollout.sampling import Sampling
from agentevol.settings.cluster import ClusterParams
from agentevol.settings.load import SettingsError
from agentevol.settings.rollout import RolloutParams
from agentevol.settings.schema import Params
from envs import environment_class
from flows.check_parameters import check_parameters
from tasks import cluster, paths
from tasks.artifact import Artifact
from tasks.cluster import ClusterError, compute_on_cluster
from tasks.collect import subset_instructions
from tasks.rollout import roll_out, roll_out_chunk
from tasks.run_identity import run_key
from tasks.shared_store import use_shared_store
from tests.flows.tiny import make_model
from tests.tasks.slow_tasks import STARTED, WAIT, letters

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]
ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.2"
"""Ray replaces 127.0.0.1 by the address of this machine in its network."""
OBJECT_STORE_BYTES = 80 * 1024**2


class Nodes:
    """Three nodes on this machine: the head computes nothing, each of the others one task at a time."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **self._options()})
        self.workers = [self.add(), self.add()]
        self.params = ClusterParams(address=self.cluster.address)

    def add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, **self._options())

    def kill(self, node: Any) -> None:
        """kill -9 of the node's daemon, which takes the processes of its tasks with it, as a power failure would."""
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers.remove(node)

    def _options(self) -> dict[str, Any]:
        return {"object_store_memory": OBJECT_STORE_BYTES, "node_ip_address": LOOPBACK, "include_dashboard": False}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # so that the nodes find the tasks of the tests
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default, which starves them beside other tests
        nodes = Nodes()
        yield nodes
        ray.shutdown()
        nodes.cluster.shutdown()


def compute(nodes: Nodes, names: str, **changes: Any) -> list[Artifact]:
    calls = [{"letter": letter} for letter in names]
    compute_on_cluster(letters, calls, nodes.params.model_copy(update=changes), cpus=1, title="letters")
    return [letters.read_artifact(inputs) for inputs in calls]


def starts() -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (paths.root() / STARTED).glob("*"))


def wait_for(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_the_nodes_compute_what_is_missing(nodes: Nodes) -> None:
    letters.compute(letter="a")
    results = compute(nodes, "abc")
    assert starts() == ["a", "b", "c"]
    assert [(result.folder / "text").read_text() for result in results] == ["aaa", "bbb", "ccc"]
    processes = [result.facts["process"] for result in results]
    assert processes[0] == os.getpid()
    assert os.getpid() not in processes[1:]
    assert letters.compute(letter="b")["digest"] == results[1].digest  # the key is that of this machine
    assert starts() == ["a", "b", "c"]


def list_of_mazes(count: int) -> Artifact:
    """Exploration instructions as a task's result, as those of a run are."""
    dataset = write_instructions(paths.root() / "data", {"explore": environment_class("maze").instructions("explore")[:count]})
    data = Artifact(kind="instructions", path="data", digest=dataset.digest, counts=dataset.counts)
    return Artifact(**subset_instructions.compute(data=data, split="explore", environments=["maze"], limit=None))


def explore(policy: Artifact, instructions: Artifact, params: ClusterParams | None) -> Artifact:
    """Two samples of each instruction, in chunks of two episodes."""
    return roll_out(
        policy=policy,
        name="bc-base",
        instructions=instructions,
        split="explore",
        samples=2,
        sampling=Sampling(temperature=1.0),
        settings=RolloutParams(chunk_size=2, num_workers=1, max_new_tokens=8, context_length=512, concurrency=2),
        cluster=params,
    )


def test_a_rollout_on_the_cluster_has_the_digest_of_one_on_this_machine(
    nodes: Nodes, project: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(project / "model")
    policy, items = Artifact(kind="model", path="model", digest=model_digest(project / "model")), list_of_mazes(3)
    here = explore(policy, items, None)
    shutil.move(project / "runs" / "store", project / "here")
    shutil.copytree(project / "here" / Path(items.path).parts[2], project / "runs" / "store" / Path(items.path).parts[2])
    monkeypatch.setattr(roll_out_chunk, "body", None)  # this machine cannot play
    there = explore(policy, items, nodes.params)
    assert there.digest == here.digest
    assert len(read_dataset(there.folder)) == 6


def test_nodes_with_folders_of_their_own_get_and_give_results_through_the_shared_store(
    nodes: Nodes, tmp_path: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_model(Path("model"))
    policy = Artifact(kind="model", path="model", digest=model_digest(Path("model")))
    items = list_of_mazes(3)
    use_shared_store(f"file://{tmp_path}/shared")
    try:
        there = explore(policy, items, nodes.params.model_copy(update={"folder": str(tmp_path / "node")}))
        played = {folder.name for folder in (tmp_path / "node" / "runs" / "store").glob("roll-out-chunk-*")}
        assert len(played) == 4
        assert played <= {folder.name for folder in Path("runs/store").iterdir()}
    finally:
        use_shared_store(None)
    shutil.rmtree("runs")
    assert explore(policy, list_of_mazes(3), None).digest == there.digest


def compute_with_interruption(nodes: Nodes, names: str, interrupt: Callable[[], None]) -> list[str]:
    """The texts of the tasks. `interrupt`: called while both nodes compute one."""
    (paths.root() / WAIT).touch()
    found: list[list[Artifact]] = []
    thread = threading.Thread(target=lambda: found.append(compute(nodes, names)))
    thread.start()
    wait_for(lambda: len(starts()) == 2)
    interrupt()
    (paths.root() / WAIT).unlink()
    thread.join(timeout=180)
    return [(result.folder / "text").read_text() for result in found[0]]


def test_a_node_that_is_killed_costs_the_task_that_it_was_computing(nodes: Nodes) -> None:
    def replace_a_node() -> None:
        nodes.kill(nodes.workers[0])
        nodes.workers.append(nodes.add())

    assert compute_with_interruption(nodes, "defgh", replace_a_node) == [letter * 3 for letter in "defgh"]
    assert len(starts()) == 6
    assert set(starts()) == set("defgh")


def test_a_process_that_is_killed_costs_its_task(nodes: Nodes) -> None:
    def kill_the_first_task() -> None:
        first = next((paths.root() / STARTED).glob("i-*"))
        psutil.Process(int(first.name.split("-")[1])).kill()

    assert compute_with_interruption(nodes, "ij", kill_the_first_task) == ["iii", "jjj"]
    assert sorted(starts()) == ["i", "i", "j"]


def test_the_error_of_a_task_is_raised_as_it_is_and_what_is_complete_stays(nodes: Nodes) -> None:
    with pytest.raises(ValueError, match="no such letter: !"):
        compute(nodes, "k!")
    compute(nodes, "k")
    assert not list((paths.root() / "runs" / ".cluster").iterdir())


def test_a_node_with_other_code_is_refused_by_name(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**cluster.code_identity(), "torch": "9.9"}
    monkeypatch.setattr(cluster, "code_identity", lambda: other)
    with pytest.raises(ClusterError, match=r"^node .+ has torch .+ instead of 9\.9; install the same version on all nodes$"):
        compute(nodes, "l")


def test_a_node_that_does_not_share_the_folder_is_refused(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "_shared_token", lambda: tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match=r"does not see .* shared file system"):
        compute(nodes, "m")
    assert not starts()


def test_what_no_node_has_is_refused_at_once(nodes: Nodes) -> None:
    with pytest.raises(ClusterError, match=r"needs 64 processors and 0 GPUs on one node, but the nodes have .*; lower rollout.num_workers"):
        compute(nodes, "n", num_cpus=64)
    with pytest.raises(ClusterError, match="needs 1 processors and 2 GPUs"):
        compute(nodes, "n", num_gpus=2)


def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    expected = r"^cluster.address: 127.0.0.1:9 given, but no Ray cluster answers there .*; start one with `ray start --head`"
    with pytest.raises(ClusterError, match=expected):
        compute_on_cluster(letters, [{"letter": "o"}], ClusterParams(address="127.0.0.1:9"), cpus=1, title="letters")


def test_without_ray_the_parameter_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.check_parameters.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'agentevol\[ray\]'"):
        check_parameters(Params(cluster=ClusterParams(address="auto")))


def test_a_run_on_a_cluster_is_the_same_run() -> None:
    base, params = Artifact(kind="model", path="x", digest="x"), Params()
    assert run_key(params.model_copy(update={"cluster": ClusterParams(address="auto")}), base, {}) == run_key(params, base, {})


def test_folders_of_the_nodes_need_a_shared_store() -> None:
    with pytest.raises(ValueError, match=r"cluster.folder: /scratch given, but store.url is null"):
        Params(cluster=ClusterParams(address="auto", folder="/scratch"))


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValueError, match="without a user or a password"):
        ClusterParams(address="ray://user:secret@head:10001")

"""A real Ray cluster of three nodes, each with processes of its own, computes tasks as this machine would, whatever dies."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentevol.data.dataset import read_dataset, write_instructions
from agentevol.models import model_digest
from agentevol.rollout.sampling import Sampling
from agentevol.settings.cluster import ClusterParams
from agentevol.settings.rollout import RolloutParams
from envs import environment_class
from tasks import cluster, cluster_progress, cluster_training, learn, paths
from tasks.artifact import Artifact
from tasks.cluster import ClusterError, Work, compute_on_cluster
from tasks.collect import subset_instructions
from tasks.learn import finetune
from tasks.rollout import roll_out, roll_out_chunk
from tasks.shared_store import use_shared_store
from tests.agentevol.training.examples import TWO_PROCESSES, losses
from tests.flows.tiny import make_model
from tests.tasks import slow_tasks
from tests.tasks.ray_nodes import Nodes, set_node_environment, wait_for
from tests.tasks.slow_tasks import STARTED, STOPPED, WAIT, letters
from tests.tasks.small_training import train

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("project")]
LETTERS = Work("a letter", 1, "rollout.num_workers")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        set_node_environment(patch)
        nodes = Nodes()
        yield nodes
        ray.shutdown()
        nodes.cluster.shutdown()


def compute(nodes: Nodes, names: str, work: Work = LETTERS, **changes: Any) -> list[Artifact]:
    calls = [{"letter": letter} for letter in names]
    compute_on_cluster(letters, calls, nodes.params.model_copy(update=changes), work, title="letters")
    return [letters.read_artifact(inputs) for inputs in calls]


def starts() -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (paths.root() / STARTED).glob("*"))


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


def kill_the_node_of_the_stopped_process(nodes: Nodes) -> None:
    stopped = paths.root() / STOPPED
    wait_for(stopped.exists)
    nodes.kill_the_node_of(int(stopped.read_text()))


def test_a_training_goes_on_from_its_checkpoint_on_another_node(
    nodes: Nodes, project: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[int] = []
    lines: list[str] = []
    monkeypatch.setattr(cluster, "progress_bar", lambda title: nullcontext(lambda done, *_: reports.append(done)))
    monkeypatch.setattr(cluster_progress, "say", lines.append)
    monkeypatch.setattr(cluster, "compute_here", slow_tasks.compute_here)
    body = finetune.body
    monkeypatch.setattr(finetune, "body", None)  # this machine cannot train
    found: list[Artifact] = []
    thread = threading.Thread(target=lambda: found.append(train(project, nodes.params, checkpoint_minutes=0.0)))
    thread.start()
    kill_the_node_of_the_stopped_process(nodes)
    thread.join(timeout=900)
    assert reports == sorted(reports), "no step was done twice after a checkpoint"
    assert re.fullmatch(r"fine-tuning bc-base on the cluster: its process or node was lost; it starts again on node .+", lines[0])
    line = re.fullmatch(r"fine-tuning bc-base on the cluster: it continues after step (\d+)", lines[1])
    assert line
    assert int(line[1]) > 0
    assert not list((project / "runs" / "learning" / "checkpoints").iterdir())
    shutil.rmtree("runs")
    monkeypatch.setattr(finetune, "body", body)
    here = train(project, ClusterParams())
    assert here.path == found[0].path
    assert here.digest == found[0].digest
    assert here.facts["loss"] == found[0].facts["loss"]


def test_two_nodes_train_as_two_processes_of_one_machine_also_after_a_node_was_lost(
    nodes: Nodes, project: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "two-nodes.yaml").write_text(TWO_PROCESSES.replace("num_machines: 1", "num_machines: 2"))
    (project / "two-processes.yaml").write_text(TWO_PROCESSES)
    reports: list[int] = []
    lines: list[str] = []
    before: list[int] = []
    monkeypatch.setattr(learn, "progress_bar", lambda title: nullcontext(lambda done, *_: reports.append(done)))
    monkeypatch.setattr(cluster_training, "say", lambda line: (lines.append(line), before.append(len(reports))))
    monkeypatch.setattr(cluster_training, "train_here", slow_tasks.train_here)
    found: list[Artifact] = []
    options = {"checkpoint_minutes": 0.0, "accelerate_config": "two-nodes.yaml"}
    thread = threading.Thread(target=lambda: found.append(train(project, nodes.params, **options)))
    thread.start()
    kill_the_node_of_the_stopped_process(nodes)
    thread.join(timeout=900)
    there = found[0].facts
    assert lines[0].endswith("; it starts again from its last checkpoint")
    assert min(reports[before[0] :]) > 1, "it did not start with the first step again"
    here = train(project, ClusterParams(), accelerate_config="two-processes.yaml").facts
    assert there["processes"] == here["processes"] == 2
    assert losses(there) == pytest.approx(losses(here), rel=1e-6)


def test_a_training_on_more_nodes_than_there_are_is_refused(nodes: Nodes, project: Path, without_prefect: None) -> None:
    (project / "nodes.yaml").write_text(TWO_PROCESSES.replace("num_machines: 1", "num_machines: 3").replace("processes: 2", "processes: 6"))
    with pytest.raises(ClusterError, match="a training needs 2 processors and 0 GPUs on each of 3 nodes, but the nodes have"):
        train(project, nodes.params, accelerate_config="nodes.yaml")


def compute_with_interruption(nodes: Nodes, names: str, interrupt: Callable[[], None], work: Work = LETTERS) -> list[str]:
    """The texts of the tasks. `interrupt`: called while the nodes compute as many as they can."""
    (paths.root() / WAIT).touch()
    found: list[list[Artifact]] = []
    thread = threading.Thread(target=lambda: found.append(compute(nodes, names, work)))
    thread.start()
    wait_for(lambda: len(starts()) == min(len(nodes.workers), len(names)))
    interrupt()
    (paths.root() / WAIT).unlink()
    thread.join(timeout=900)
    return [(result.folder / "text").read_text() for result in found[0]]


def test_a_node_that_is_killed_costs_the_task_that_it_was_computing(nodes: Nodes) -> None:
    def replace_a_node() -> None:
        nodes.kill(nodes.workers[0])
        nodes.workers.append(nodes.add())

    assert compute_with_interruption(nodes, "defgh", replace_a_node) == [letter * 3 for letter in "defgh"]
    assert len(starts()) == 6
    assert set(starts()) == set("defgh")


def test_a_process_that_is_killed_costs_its_task_and_the_user_is_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(cluster_progress, "say", lines.append)

    def kill_the_task() -> None:
        (start,) = (paths.root() / STARTED).glob("i-*")
        psutil.Process(int(start.name.split("-")[1])).kill()

    steps_are_shown = replace(LETTERS, shows_steps=True)  # and there are none
    assert compute_with_interruption(nodes, "i", kill_the_task, steps_are_shown) == ["iii"]
    assert starts() == ["i", "i"]
    assert len(lines) == 1
    assert lines[0].startswith("letters: its process or node was lost; it starts again on node ")


def test_what_another_run_computes_takes_no_second_place(nodes: Nodes) -> None:
    (paths.root() / WAIT).touch()
    runs = [threading.Thread(target=compute, args=(nodes, names)) for names in ("s", "sx")]
    runs[0].start()
    wait_for(lambda: starts() == ["s"])
    runs[1].start()
    wait_for(lambda: starts() == ["s", "x"])  # on the second node, which does not wait for the first
    assert letters.is_being_computed(letter="s")
    (paths.root() / WAIT).unlink()
    for run in runs:
        run.join(timeout=900)
    assert starts() == ["s", "x"]
    assert not letters.is_being_computed(letter="s")


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
    monkeypatch.setattr(cluster, "shared_token", lambda: tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match=r"does not see .* shared file system"):
        compute(nodes, "m")
    assert not starts()


def test_what_no_node_has_is_refused_at_once(nodes: Nodes) -> None:
    with pytest.raises(
        ClusterError, match=r"a letter needs 64 processors and 0 GPUs on one node, but the nodes have .*; lower rollout.num_workers"
    ):
        compute(nodes, "n", num_cpus=64)
    with pytest.raises(ClusterError, match="needs 1 processors and 2 GPUs"):
        compute(nodes, "n", num_gpus=2)

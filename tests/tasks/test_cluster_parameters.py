"""The parameters of a cluster: what is refused before a node gets work, and what they do not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.settings.cluster import ClusterParams
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from flows.check_parameters import check_parameters
from tasks.artifact import Artifact
from tasks.cluster import ClusterError, Work, compute_on_cluster
from tasks.learn import finetune
from tasks.run_identity import run_key
from tests.tasks.slow_tasks import letters

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    expected = r"^cluster.address: 127.0.0.1:9 given, but no Ray cluster answers there .*; start one with `ray start --head`"
    with pytest.raises(ClusterError, match=expected):
        compute_on_cluster(letters, [{"letter": "o"}], ClusterParams(address="127.0.0.1:9"), Work("a letter", 1, ""), title="letters")


def test_without_ray_the_parameter_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.check_parameters.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'agentevol\[ray\]'"):
        check_parameters(Params(cluster=ClusterParams(address="auto")))


def test_a_run_on_a_cluster_is_the_same_run() -> None:
    base, params = Artifact(kind="model", path="x", digest="x"), Params()
    assert run_key(params.model_copy(update={"cluster": ClusterParams(address="auto")}), base, {}) == run_key(params, base, {})


def test_where_a_policy_trains_is_in_no_key() -> None:
    model = Artifact(kind="model", path="x", digest="x")
    inputs = {"base": model, "data": model, "settings": FinetuneParams(), "seed": 0, "rule": "dpo", "name": "bc-base"}
    assert finetune.key({**inputs, "nodes": ClusterParams(address="auto")}) == finetune.key(inputs)


def test_folders_of_the_nodes_need_a_shared_store() -> None:
    with pytest.raises(ValueError, match=r"cluster.folder: /scratch given, but store.url is null"):
        Params(cluster=ClusterParams(address="auto", folder="/scratch"))


def test_a_password_in_the_address_is_refused() -> None:
    with pytest.raises(ValueError, match="without a user or a password"):
        ClusterParams(address="ray://user:secret@head:10001")

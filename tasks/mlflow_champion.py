"""The best policy so far, as MLflow's registered model with the alias `champion`.

Invariant: a policy becomes the champion only by the exact McNemar test on the same AgentEval instructions in the same environments, so
there is one registered model per AgentEval set. A policy that does not win is not registered. The champion's outcomes, against which it is
challenged, are stored with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from agentevol.data.artifact_folder import digest_json
from agentevol.data.dataset import read_dataset
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import PairedTest, mcnemar_from_counts
from agentevol.report.formatting import format_p_equation
from tasks import paths
from tasks.artifact import Artifact
from tasks.mlflow_store import is_server
from tasks.policy_record import PolicyRecord

ALIAS = "champion"
SIGNIFICANCE_LEVEL = 0.05
SUCCESS, FAILURE, ERROR = "1", "0", "e"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the policy is now the champion, of which registered model, which version the champion has, and why."""

    champion: bool
    name: str
    version: str
    reason: str


def challenge(
    client: MlflowClient, run_id: str, run_name: str, policy: PolicyRecord, agenteval: Artifact, env_versions: Mapping[str, int]
) -> Verdict:
    """Register the policy if it beats the champion of its AgentEval set, or if there is no champion."""
    name = model_name(agenteval, env_versions)
    policy_outcomes = outcomes(read_dataset(policy.episodes.folder))
    with paths.lock("champion"):  # of two runs on this machine, the second challenges the first one's policy
        champion = _champion(client, name)
        if champion and champion.tags.get("sha256") == policy.model.digest:
            return Verdict(True, name, champion.version, champion.tags.get("reason", ""))
        test = compare(policy_outcomes, champion.tags.get("outcomes", "")) if champion else None
        if champion and test is None:
            return Verdict(False, name, champion.version, f"version {champion.version} was registered without its outcomes: not compared")
        if champion and test and not wins(test):
            return Verdict(False, name, champion.version, f"not better than {_champion_label(champion)}: {_test_summary(test)}")
        reason = (
            f"better than {_champion_label(champion)}: {_test_summary(test)}" if champion and test else "the first on these instructions"
        )
        tags = {"sha256": policy.model.digest, "run": run_name, "policy": policy.name, "outcomes": policy_outcomes, "reason": reason}
        tags |= {"success": f"{policy.success:.4f}", "episodes": policy.episodes.digest, "agenteval": agenteval.digest}
        version = _register(client, name, run_id, policy.model, tags, agenteval)
        client.set_registered_model_alias(name, ALIAS, version)
        return Verdict(True, name, version, reason)


def model_name(agenteval: Artifact, env_versions: Mapping[str, int]) -> str:
    """The registered model of an AgentEval set: its name depends on the instructions and on the versions of their environments."""
    versions = {env: env_versions[env] for env in agenteval.counts if env in env_versions}
    digest = digest_json({"agenteval": agenteval.digest, "env_versions": versions})
    return f"agentevol-{agenteval.rows}-{digest[:8]}"


def outcomes(episodes: list[Trajectory]) -> str:
    """One character per instruction, sorted by id: all that the paired test needs of a policy."""
    marks = {episode.item_id: ERROR if episode.status == "error" else SUCCESS if episode.success else FAILURE for episode in episodes}
    return "".join(marks[item] for item in sorted(marks))


def compare(a: str, b: str) -> PairedTest | None:
    """The exact McNemar test of two policies' outcomes; None if they have different numbers of instructions."""
    if len(a) != len(b):
        return None
    pairs = [pair for pair in zip(a, b, strict=True) if ERROR not in pair]
    return mcnemar_from_counts(len(pairs), pairs.count((SUCCESS, FAILURE)), pairs.count((FAILURE, SUCCESS)))


def wins(test: PairedTest) -> bool:
    """Whether a is better than b at the 5 % significance level."""
    return test.only_a > test.only_b and test.p_value < SIGNIFICANCE_LEVEL


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:  # no such model, or none of its versions has the alias (after a kill between the two steps)
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise  # if the server does not answer, there may still be a champion
        return None


def _register(client: MlflowClient, name: str, run_id: str, model: Artifact, tags: dict[str, str], agenteval: Artifact) -> str:
    try:
        environments = ", ".join(f"{count} {env}" for env, count in agenteval.counts.items())
        client.create_registered_model(name, description=f"Policies scored on {environments} (AgentEval sha256:{agenteval.digest})")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name='{name}'"):
        if version.tags.get("sha256") == model.digest:  # registered by a run that was killed before it set the alias
            return str(version.version)
    source = model.folder.as_uri()
    if is_server(paths.tracking_uri()):  # a server accepts no path of another machine: upload the files to the run
        client.log_artifacts(run_id, str(model.folder), "policy")
        source = f"{client.get_run(run_id).info.artifact_uri}/policy"
    return str(client.create_model_version(name, source, run_id, tags=tags).version)


def _champion_label(champion: ModelVersion) -> str:
    return f"{champion.tags.get('run', '?')} {champion.tags.get('policy', '')} (version {champion.version})"


def _test_summary(test: PairedTest) -> str:
    return f"{test.only_a} gained, {test.only_b} lost of {test.n}, {format_p_equation(test.p_value)}"

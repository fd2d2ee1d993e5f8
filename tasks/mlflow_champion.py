"""The best policy so far, as MLflow's registered model with the alias `champion`.

Invariant: a policy takes the title only by the exact McNemar test on the same AgentEval instructions in the same environments, so there is
one registered model per AgentEval set; a policy that does not win is not registered. The outcomes by which it is challenged are kept with
it.
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
LEVEL = 0.05
WON, LOST, FAULT = "1", "0", "e"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the policy is the champion now, in which registered model and version, and why."""

    champion: bool
    name: str
    version: str
    why: str


def challenge(
    client: MlflowClient, run_id: str, run_name: str, last: PolicyRecord, agenteval: Artifact, env_versions: Mapping[str, int]
) -> Verdict:
    """Register the policy where it beats the champion of its AgentEval set, or where there is none."""
    name = model_name(agenteval, env_versions)
    played = outcomes(read_dataset(last.episodes.folder))
    with paths.lock("champion"):  # of two runs on this machine the second meets the first one's policy
        champion = _champion(client, name)
        if champion and champion.tags.get("sha256") == last.model.digest:
            return Verdict(True, name, champion.version, champion.tags.get("why", ""))
        test = compare(played, champion.tags.get("outcomes", "")) if champion else None
        if champion and test is None:
            return Verdict(False, name, champion.version, f"version {champion.version} was registered without its outcomes: not compared")
        if champion and test and not wins(test):
            return Verdict(False, name, champion.version, f"not better than {_titled(champion)}: {_counted(test)}")
        why = f"better than {_titled(champion)}: {_counted(test)}" if champion and test else "the first one on these instructions"
        tags = {"sha256": last.model.digest, "run": run_name, "policy": last.name, "outcomes": played, "why": why}
        tags |= {"success": f"{last.success:.4f}", "episodes": last.episodes.digest, "agenteval": agenteval.digest}
        version = _register(client, name, run_id, last.model, tags, agenteval)
        client.set_registered_model_alias(name, ALIAS, version)
        return Verdict(True, name, version, why)


def model_name(agenteval: Artifact, env_versions: Mapping[str, int]) -> str:
    """The registered model of an AgentEval set: its instructions and the versions of the environments that they are played in."""
    versions = {env: env_versions[env] for env in agenteval.counts if env in env_versions}
    digest = digest_json({"agenteval": agenteval.digest, "env_versions": versions})
    return f"agentevol-{agenteval.rows}-{digest[:8]}"


def outcomes(episodes: list[Trajectory]) -> str:
    """A character per instruction, in the order of their ids: what the paired test needs of a policy."""
    marks = {episode.item_id: FAULT if episode.status == "error" else WON if episode.success else LOST for episode in episodes}
    return "".join(marks[item] for item in sorted(marks))


def compare(a: str, b: str) -> PairedTest | None:
    """The exact McNemar test of two policies' outcomes; None where they are not of the same instructions."""
    if len(a) != len(b):
        return None
    pairs = [pair for pair in zip(a, b, strict=True) if FAULT not in pair]
    return mcnemar_from_counts(len(pairs), pairs.count((WON, LOST)), pairs.count((LOST, WON)))


def wins(test: PairedTest) -> bool:
    """Whether a is better than b at the level of 5 %."""
    return test.only_a > test.only_b and test.p_value < LEVEL


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:  # no such model, or none of its versions has the alias (a kill between the two)
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise  # a server that does not answer has a champion perhaps
        return None


def _register(client: MlflowClient, name: str, run_id: str, model: Artifact, tags: dict[str, str], agenteval: Artifact) -> str:
    try:
        counts = ", ".join(f"{count} {env}" for env, count in agenteval.counts.items())
        client.create_registered_model(name, description=f"Policies scored on {counts} (AgentEval sha256:{agenteval.digest})")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name='{name}'"):
        if version.tags.get("sha256") == model.digest:  # registered by a run that was killed before it set the alias
            return str(version.version)
    source = model.folder.as_uri()
    if is_server(paths.tracking_uri()):  # a server takes no path of another machine: it gets the files, below the run
        client.log_artifacts(run_id, str(model.folder), "policy")
        source = f"{client.get_run(run_id).info.artifact_uri}/policy"
    return str(client.create_model_version(name, source, run_id, tags=tags).version)


def _titled(champion: ModelVersion) -> str:
    return f"{champion.tags.get('run', '?')} {champion.tags.get('policy', '')} (version {champion.version})"


def _counted(test: PairedTest) -> str:
    return f"{test.only_a} gained, {test.only_b} lost of {test.n}, {format_p_equation(test.p_value)}"

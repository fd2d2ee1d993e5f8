"""The best policy so far, as MLflow's registered model with the alias `champion`.

Invariant: a policy becomes the champion only by exact McNemar tests on the same instructions of a validation split, never on AgentEval: it
must be better than the random policy, and than the champion if there is one. There is one registered model per validation split. A policy
that does not win is not registered. The champion's outcomes, against which it is challenged, are stored with it.

The tests of one champion are corrected for their number by alpha spending: its k-th challenger is tested at 0.05 / (k (k + 1)), and these
levels add up to 0.05. So the probability that policies which are no better ever replace a champion is at most 5 %, however many challenge
it. Holm's correction would need all of the challengers at once; they come one by one, and each is decided when it comes.
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
from agentevol.evaluation.paired_tests import PairedTest, level_of_test, mcnemar, mcnemar_from_counts
from agentevol.report.formatting import format_p_equation
from tasks import paths
from tasks.artifact import Artifact
from tasks.mlflow_store import is_server
from tasks.policy_record import PolicyRecord

ALIAS = "champion"
SIGNIFICANCE_LEVEL = 0.05
SUCCESS, FAILURE, ERROR = "1", "0", "e"
_CHALLENGERS = "agentevol.challengers"
"""Tag of a registered model for each champion's version (0 before the first): the challengers in their order."""
_DIGEST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the policy is now the champion, of which registered model, which version the champion has ("" for none), and why."""

    champion: bool
    name: str
    version: str
    reason: str


def challenge(
    client: MlflowClient,
    run_id: str,
    run_name: str,
    policy: PolicyRecord,
    random_episodes: Artifact | None,
    validation: Artifact,
    env_versions: Mapping[str, int],
) -> Verdict:
    """Register the policy if it beats the random policy and the champion of its validation split.

    `random_episodes`: those of the random policy on the split; None if no environment of it lists its actions: then this test is left out.
    """
    assert policy.validation_episodes is not None, "a policy without a validation split"
    name, episodes = model_name(validation, env_versions), read_dataset(policy.validation_episodes.folder)
    policy_outcomes = outcomes(episodes)
    against_random = mcnemar(episodes, read_dataset(random_episodes.folder)) if random_episodes else None
    with paths.lock("champion"):  # of two runs on this machine, the second challenges the first one's policy
        champion = _champion(client, name)
        if champion and champion.tags.get("sha256") == policy.model.digest:
            return Verdict(True, name, str(champion.version), champion.tags.get("reason", ""))
        version = str(champion.version) if champion else ""
        _create_registered_model(client, name, validation)
        number = _number_of_challenge(client, name, version or "0", policy.model.digest)
        level = level_of_test(number, SIGNIFICANCE_LEVEL)
        condition = f"challenge {number}, level {level:.2g}"
        if against_random and not wins(against_random, level):
            return Verdict(False, name, version, f"not better than the random player: {_test_summary(against_random)} ({condition})")
        test = compare(policy_outcomes, champion.tags.get("outcomes", "")) if champion else None
        if champion and test is None:
            return Verdict(False, name, version, f"version {version} was registered without its outcomes: not compared")
        if champion and test and not wins(test, level):
            return Verdict(False, name, version, f"not better than {_champion_label(champion)}: {_test_summary(test)} ({condition})")
        if champion and test:
            reason = f"better than {_champion_label(champion)}: {_test_summary(test)} ({condition})"
        elif against_random:
            reason = f"the first on these instructions, better than the random player: {_test_summary(against_random)} ({condition})"
        else:
            reason = "the first on these instructions, whose environments list no actions for a random player"
        tags = {"sha256": policy.model.digest, "run": run_name, "policy": policy.name, "outcomes": policy_outcomes, "reason": reason}
        tags |= {"success": f"{policy.validation_rank[0]:.4f}", "episodes": policy.validation_episodes.digest}
        tags |= {"validation": validation.digest}
        version = _register(client, name, run_id, policy.model, tags)
        client.set_registered_model_alias(name, ALIAS, version)
        return Verdict(True, name, version, reason)


def champion_digests(client: MlflowClient) -> set[str]:
    """The digests of all registered policies, of the episodes that made them champions, and of their validation splits."""
    digests: set[str] = set()
    token = None
    while True:
        versions = client.search_model_versions("name LIKE 'agentevol-%'", max_results=1000, page_token=token)
        digests |= {version.tags[name] for version in versions for name in ("sha256", "episodes", "validation") if name in version.tags}
        token = versions.token
        if not token:
            return digests


def model_name(validation: Artifact, env_versions: Mapping[str, int]) -> str:
    """The registered model of a validation split: its name depends on the instructions and on the versions of their environments."""
    versions = {env: env_versions[env] for env in validation.counts if env in env_versions}
    digest = digest_json({"validation": validation.digest, "env_versions": versions})
    return f"agentevol-{validation.rows}-{digest[:8]}"


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


def wins(test: PairedTest, level: float) -> bool:
    """Whether a is better than b at this significance level."""
    return test.only_a > test.only_b and test.p_value < level


def _number_of_challenge(client: MlflowClient, name: str, version: str, digest: str) -> int:
    """The position of the policy among the challengers of a champion, from 1. A policy that challenges again keeps its position."""
    tag = f"{_CHALLENGERS}.{version}"
    challengers = client.get_registered_model(name).tags.get(tag, "").split()
    if digest[:_DIGEST_DIGITS] not in challengers:
        challengers.append(digest[:_DIGEST_DIGITS])
        client.set_registered_model_tag(name, tag, " ".join(challengers))
    number: int = challengers.index(digest[:_DIGEST_DIGITS]) + 1
    return number


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:  # no such model, or none of its versions has the alias (after a kill between the two steps)
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise  # if the server does not answer, there may still be a champion
        return None


def _create_registered_model(client: MlflowClient, name: str, validation: Artifact) -> None:
    try:
        environments = ", ".join(f"{count} {env}" for env, count in validation.counts.items())
        description = f"Policies compared on {environments} of the training instructions (validation split sha256:{validation.digest})"
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _register(client: MlflowClient, name: str, run_id: str, model: Artifact, tags: dict[str, str]) -> str:
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

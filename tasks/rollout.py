"""Rolling out policies: exploration and evaluation.

Invariant: episodes are rolled out in chunks of fixed composition, one Prefect task each. A run that was killed repeats only the chunk it
was in, with the same result. Each sample index has its own chunks: a run with K = 3 reuses the chunks of a run with K = 1.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import lru_cache
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.data.dataset import has_logprobs, read_instruction_list, recorded_measures, stream_dataset, write_dataset
from agentevol.data.trajectory import Trajectory
from agentevol.data.validation import VALIDATION, EpisodeSplit
from agentevol.rollout.sampling import Sampling
from agentevol.settings.agent import ActionFormat
from agentevol.settings.cluster import ClusterParams
from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams
from tasks.adaptive_exploration import AdaptiveSamples, play_adaptively
from tasks.artifact import Artifact, is_in_store
from tasks.cached_task import TaskOutput, cached_task
from tasks.cluster import Work, compute_on_cluster
from tasks.env_versions import env_versions, functions_digest
from tasks.learn import copy_model
from tasks.locks import exclusive_lock
from tasks.progress import progress_bar, say
from tasks.shared_store import evict, look_up_each

USAGE_FIELDS = ("requests", "repeated", "tokens_in", "tokens_out")
"""The fields of agentevol.rollout.engine.Usage: what was requested from an endpoint."""
COST_FIELDS = ("seconds", "episodes", "tokens")
Chunk = tuple[str, dict[str, Any]]
"""A call of roll_out_chunk: the label of its task run, and its inputs."""
_VERBS = {"eval": "evaluating", VALIDATION: "validating"}


class PolicyChanged(RuntimeError):
    """A model's folder changed between its digest and its rollout."""


class RolloutFailed(RuntimeError):
    """Every episode of a rollout ended with an error: there is nothing to score or to train on."""


def roll_out(
    *,
    policy: Artifact,
    name: str,
    instructions: Artifact,
    split: EpisodeSplit,
    samples: int | AdaptiveSamples,
    sampling: Sampling,
    settings: RolloutParams,
    engine: EngineParams | None = None,
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
    action_format: ActionFormat = "react",
    cluster: ClusterParams | None = None,
    num_threads: int | None = None,
) -> Artifact:
    """`samples` episodes of the policy `name` on every instruction, as one dataset (sample by sample, in the order of the instructions).

    With AdaptiveSamples, the results of earlier episodes decide how many each instruction gets. `engine`: the inference engine, if it is
    not `transformers`. `template_kwargs`, `chat_format`: as in tasks.learn.finetune. `action_format`: how the policy gives its actions.
    `cluster`: the machines that play, if it is not this one. `num_threads`: the threads of PyTorch on a node that plays in one process;
    None: as many as the processors that Ray reserves for it.
    Raises ClusterError, and RolloutFailed if every episode ended with an error; these episodes are not kept, so that the same run repeats
    them after the cause is fixed. If only some episodes ended with an error, they stay on record until a run with another retry policy
    (max_retries, step_timeout, timeout) repeats their chunks.
    """
    common = {"policy": policy, "name": name, "split": split, "sampling": sampling, "settings": settings}
    common |= {"engine": engine, "template_kwargs": template_kwargs, "chat_format": chat_format, "action_format": action_format}

    def play(part: Artifact, *numbers: int) -> list[Artifact]:
        functions = None if action_format == "react" else functions_digest(part)
        inputs = {**common, "instructions": part, "env_versions": env_versions(part), "functions": functions}
        chunks = [chunk for sample in numbers for chunk in _chunks(inputs, sample)]
        return _play_chunks(_with_retry_tokens(chunks, cluster), cluster, num_threads)

    chunks = (
        play_adaptively(play, instructions, samples, sampling.seed)
        if isinstance(samples, AdaptiveSamples)
        else play(instructions, *range(samples))
    )
    episodes = concatenate_chunks(chunks=chunks, label=f"{split} {name}")
    errors, most_common = episodes.facts["errors"], episodes.facts["most_common_error"]
    if episodes.rows and errors == episodes.rows:
        for artifact in (episodes, *chunks):
            evict(artifact)
        raise RolloutFailed(
            f"{name}: all {episodes.rows} episodes ({split}) ended with an error. The most common one: {most_common}."
            " Fix the cause and run the same command again; these episodes are not kept"
        )
    if errors:
        say(
            f"{name}: {errors} of {episodes.rows} episodes ({split}) ended with an error. The most common one: {most_common}."
            " They are reported and recorded, but excluded from scores and training; to play them again, change rollout.max_retries"
        )
    return episodes


def _chunks(common: dict[str, Any], sample: int) -> list[Chunk]:
    """One episode on each instruction, with this sample index: the label and the inputs of each chunk."""
    size, rows = common["settings"].chunk_size, common["instructions"].rows
    starts = list(takewhile(lambda start: start < rows, count(0, size)))
    chunks = []
    for number, start in enumerate(starts, 1):
        inputs = {**common, "start": start, "stop": min(start + size, rows), "sample": sample}
        chunks.append((f"{common['split']} {common['name']}, sample {sample + 1}, chunk {number}/{len(starts)}", inputs))
    return chunks


def _with_retry_tokens(chunks: list[Chunk], cluster: ClusterParams | None) -> list[Chunk]:
    def with_token(chunk: Chunk) -> Chunk:
        label, inputs = chunk
        if cluster and cluster.address and roll_out_chunk.is_being_computed(**inputs):  # another run's chunk must not hold up ours
            return chunk
        return label, {**inputs, "retry_token": _retry_token(inputs)}

    return look_up_each(with_token, chunks)


def _play_chunks(chunks: list[Chunk], cluster: ClusterParams | None, num_threads: int | None) -> list[Artifact]:
    """The chunks, one after the other here, or several at a time on a cluster. An engine on a server is asked from here."""
    if cluster and cluster.address and chunks and not _asks_server(chunks[0][1]["engine"]):
        common = chunks[0][1]
        policy = common["policy"]
        if cluster.folder and not is_in_store(policy):
            policy = copy_model(model=policy)  # the nodes have no folder of the user's; the digest, and so every key, stays the same
        title = f"{_VERBS.get(common['split'], 'exploring')} with {common['name']} on the cluster, in chunks"
        calls = [{**inputs, "policy": policy} for _, inputs in chunks]
        compute_on_cluster(roll_out_chunk, calls, cluster, _work_of_chunk(common["settings"], num_threads), title=title)
    return [roll_out_chunk(**inputs, label=label) for label, inputs in chunks]


def _work_of_chunk(settings: RolloutParams, num_threads: int | None) -> Work:
    """Several processes of a chunk have one thread each, as on this machine."""
    if settings.num_workers == 1 and num_threads:
        return Work("a chunk", num_threads, "model.num_threads", threads=num_threads)
    return Work("a chunk", settings.num_workers, "rollout.num_workers")


def _asks_server(engine: EngineParams | None) -> bool:
    return engine is not None and engine.kind == "openai"


def _retry_token(inputs: dict[str, Any]) -> list[float] | None:
    """The retry policy with which a chunk that contains errors must be repeated; None if the stored chunk is used or there is none.

    A repeated chunk is a separate result, so that the run which first had the errors keeps its scores.
    """
    if not roll_out_chunk.is_cached(**inputs):
        return None
    facts, policy = roll_out_chunk.read_artifact(inputs).facts, _retry_policy(inputs["settings"], inputs["engine"])
    return policy if facts["errors"] and facts.get("retry_policy") != policy else None


def _retry_policy(settings: RolloutParams, engine: EngineParams | None) -> list[float]:
    return [settings.max_retries, settings.step_timeout or 0.0, *([engine.max_retries, engine.timeout] if engine else [])]


def _check_rewards(episodes: list[Trajectory], servers: dict[str, list[str]]) -> None:
    """Raises RewardMismatch if a server reported other rewards than this machine finds; says once what cannot be checked."""
    if not servers:
        return
    from agentevol.rollout.reward_check import check_rewards

    for env, reason in check_rewards(episodes, servers).items():
        _say_unchecked(env, " and ".join(servers[env]), reason)


@lru_cache(maxsize=None)
def _say_unchecked(env: str, urls: str, reason: str) -> None:
    say(f"{env}: the rewards that {urls} report cannot be checked on this machine ({reason}); use only a server that you trust")


def _exclusive_server(engine: EngineParams | None) -> AbstractContextManager[None]:
    """A server that loads every policy (engine.weight_sync) serves one at a time: parallel runs take turns, chunk by chunk."""
    if engine is None or engine.weight_sync is None:
        return nullcontext()
    return exclusive_lock(f"engine-{digest_json(engine.url)[:16]}", f"another run uses the server at {engine.url}; waiting for it")


@cached_task("trajectories", version="3")
def roll_out_chunk(
    out: Path,
    *,
    policy: Artifact,
    name: str,
    instructions: Artifact,
    start: int,
    stop: int,
    sample: int,
    split: EpisodeSplit,
    sampling: Sampling,
    settings: RolloutParams,
    env_versions: dict[str, int],
    engine: EngineParams | None = None,
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
    action_format: ActionFormat = "react",
    functions: str | None = None,
    retry_token: list[float] | None = None,
) -> TaskOutput:
    """One episode on each instruction from `start` to `stop`. The seed of an episode depends on (seed, iteration, item_id, sample).

    `env_versions`: the versions of the environments. `retry_token`: the retry policy with which a chunk that contained errors is repeated.
    `chat_format`: as in tasks.learn.finetune. `functions`: the digest of the functions that the policy is offered. Only the key needs these
    four.
    """
    from agentevol.rollout import rollout
    from agentevol.rollout.engine import Usage

    usage = Usage()
    items = read_instruction_list(instructions.folder)[start:stop]
    title = f"{_VERBS.get(split, 'exploring')} with {name}, {start + 1}-{stop} of {instructions.rows}"
    with _exclusive_server(engine), progress_bar(title) as progress:
        start_time = time.perf_counter()
        episodes = rollout.roll_out(
            policy.folder if policy.kind == "model" else None,
            items,
            samples=[sample],
            sampling=sampling,
            split=split,
            policy=name,
            settings=settings,
            engine=engine,
            usage=usage if engine else None,
            template_kwargs=template_kwargs,
            action_format=action_format,
            progress=progress,
        )
        seconds = time.perf_counter() - start_time
    _check_rewards(episodes, settings.addresses())
    if policy.kind == "model" and any(episode.policy_hash != policy.digest for episode in episodes if episode.status != "error"):
        raise PolicyChanged(f"{policy.path} was replaced during the rollout of {name}; run the same command again")
    lineage = {"policy": policy.digest, "instructions": instructions.digest}
    dataset = write_dataset(out / "dataset", episodes, lineage, with_times=True, with_logprobs=sampling.record_logprobs)
    facts: dict[str, Any] = {"seconds": seconds, "episodes": len(episodes), "tokens": sum(episode.tokens for episode in episodes)}
    facts |= asdict(usage) if usage.requests else {}
    facts |= {"errors": sum(episode.status == "error" for episode in episodes), "retry_policy": _retry_policy(settings, engine)}
    return TaskOutput(dataset.digest, "dataset", dataset.counts, facts)


@cached_task("trajectories", version="1")
def concatenate_chunks(out: Path, *, chunks: list[Artifact]) -> TaskOutput:
    """The chunks of a rollout as one dataset. Facts: their sums; the episodes that ended with an error or were truncated, by cause; those
    that were truncated before their first round, by environment."""
    error_counts, truncated, successes = Counter[str](), Counter({"context": 0, "loop": 0}), 0
    unstarted = Counter[str]()

    def rows() -> Iterator[Trajectory]:
        nonlocal successes
        for chunk in chunks:
            for row in stream_dataset(chunk.folder):
                if row.status == "error":
                    error_counts[str(row.error)] += 1
                elif row.truncated_by:
                    truncated[row.truncated_by] += 1
                    unstarted[row.env] += len(row.messages) == 1
                successes += row.success and row.status != "error"
                yield row

    dataset = write_dataset(
        out / "dataset",
        rows(),
        {"parents": [chunk.digest for chunk in chunks]},
        with_times=True,
        measures=recorded_measures(*(chunk.folder for chunk in chunks)),
        with_logprobs=any(has_logprobs(chunk.folder) for chunk in chunks),
    )
    facts: dict[str, Any] = {name: sum(chunk.facts[name] for chunk in chunks) for name in COST_FIELDS}
    facts |= {
        name: sum(chunk.facts.get(name, 0) for chunk in chunks) for name in USAGE_FIELDS if any(name in chunk.facts for chunk in chunks)
    }
    facts |= {"errors": error_counts.total(), "most_common_error": error_counts.most_common(1)[0][0] if error_counts else None}
    facts |= {"truncated": dict(truncated), "successes": successes}
    if unstarted.total():
        facts["unstarted"] = dict(+unstarted)
    facts["chunks"] = [{"path": chunk.path, **{name: chunk.facts[name] for name in COST_FIELDS}} for chunk in chunks]
    return TaskOutput(dataset.digest, "dataset", dataset.counts, facts)

"""Playing episodes with a policy: exploration and evaluation.

Invariant: episodes are played in chunks of fixed composition, one Prefect task each, so that a run that was killed plays only the chunk
it was in again, and plays it the same. Each sample index has tasks of its own: K = 3 takes over what K = 1 has played.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.data.dataset import read_instruction_list, stream_dataset, write_dataset
from agentevol.data.trajectory import Trajectory
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from envs.base import Split
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task, forget
from tasks.env_versions import env_versions
from tasks.locks import alone
from tasks.progress import bar, say

BILLED = ("requests", "repeated", "tokens_in", "tokens_out")
"""What an endpoint was asked for, as it counts it (turns.Usage)."""


class PolicyChanged(RuntimeError):
    """A model's folder held something else when it was played than when it was looked at."""


class NothingPlayed(RuntimeError):
    """A fault ended every episode of a rollout: there is nothing to score or to learn from."""


def roll_out(
    *,
    policy: Artifact,
    name: str,
    instructions: Artifact,
    split: Split,
    samples: int,
    sampling: Sampling,
    settings: RolloutParams,
    engine: EngineParams | None = None,
) -> Artifact:
    """`samples` episodes of the policy `name` on every instruction, as one dataset (sample by sample, in the instructions' order).

    `engine`: what speaks for it, where that is not `transformers`. Raises NothingPlayed where a fault ended every episode; these are not
    kept, so that the same run plays again once the cause is gone. Where faults ended some, they stay on record as they are, until a run
    asks with other retries or another timeout: that one plays their chunks again.
    """
    starts = list(takewhile(lambda start: start < instructions.rows, count(0, settings.chunk_size)))
    common = {"policy": policy, "name": name, "instructions": instructions, "split": split, "sampling": sampling, "settings": settings}
    common |= {"env_versions": env_versions(instructions), "engine": engine}
    chunks = []
    for sample in range(samples):
        for number, start in enumerate(starts, 1):
            inputs = {**common, "start": start, "stop": min(start + settings.chunk_size, instructions.rows), "sample": sample}
            inputs["again"] = _again(inputs)
            chunks.append(play(**inputs, label=f"{split} {name}, sample {sample + 1}/{samples}, chunk {number}/{len(starts)}"))
    played = gather(chunks=chunks, label=f"{split} {name}")
    if played.rows and played.facts["errors"] == played.rows:
        cause = played.facts["commonest_error"]
        for one in (played, *chunks):
            forget(one)
        raise NothingPlayed(
            f"{name} could not play: a fault ended all {played.rows} episodes ({split}), most often this one: {cause}."
            " Put it right and run the same command again; these episodes are not kept"
        )
    if played.facts["errors"]:
        say(
            f"{name}: a fault ended {played.facts['errors']} of {played.rows} episodes ({split}), most often this one:"
            f" {played.facts['commonest_error']}. They count in nothing; a run with other rollout.max_retries plays them again"
        )
    return played


def _again(inputs: dict[str, Any]) -> list[float] | None:
    """With which patience to play a chunk that faults ended in part, where it was played with another one; None: as it stands.

    Faults pass. What is played again is a result of its own, so that the run which first had the faults keeps its figures.
    """
    if not play.is_done(**inputs):
        return None
    there, now = play.describe(inputs), _patience(inputs["settings"], inputs["engine"])
    return now if there.facts["errors"] and there.facts.get("patience") != now else None


def _patience(settings: RolloutParams, engine: EngineParams | None) -> list[float]:
    return [settings.max_retries, *([engine.max_retries, engine.timeout] if engine else [])]


def _server_to_itself(engine: EngineParams | None) -> AbstractContextManager[None]:
    """A server that is given every policy (engine.weight_sync) speaks for one at a time: runs side by side take turns, chunk by chunk."""
    if engine is None or engine.weight_sync is None:
        return nullcontext()
    return alone(f"engine-{digest_json(engine.url)[:16]}", f"another run is playing with the server at {engine.url}; waiting for it")


@cached_task("trajectories", version="2")
def play(
    out: Path,
    *,
    policy: Artifact,
    name: str,
    instructions: Artifact,
    start: int,
    stop: int,
    sample: int,
    split: Split,
    sampling: Sampling,
    settings: RolloutParams,
    env_versions: dict[str, int],
    engine: EngineParams | None = None,
    again: list[float] | None = None,
) -> TaskOutput:
    """One episode on each instruction from `start` to `stop`; the seed of an episode depends on (seed, iteration, item_id, sample).

    `env_versions`: the versions of the environments; `again`: with which patience a chunk that had faults is played once more. The key
    needs them, the body does not.
    """
    from agentevol.rollout.engine import Usage
    from agentevol.rollout.rollout import roll_out as play_episodes

    usage = Usage()
    wanted = read_instruction_list(instructions.folder)[start:stop]
    what = f"{'evaluating' if split == 'eval' else 'exploring'} with {name}, {start + 1}-{stop} of {instructions.rows}"
    with _server_to_itself(engine), bar(what) as tick:
        began = time.perf_counter()
        episodes = play_episodes(
            policy.folder if policy.kind == "model" else None,
            wanted,
            samples=[sample],
            sampling=sampling,
            split=split,
            policy=name,
            settings=settings,
            progress=tick,
            **({"engine": engine, "usage": usage} if engine else {}),
        )
        seconds = time.perf_counter() - began
    if policy.kind == "model" and any(episode.policy_hash != policy.digest for episode in episodes if episode.status != "error"):
        raise PolicyChanged(f"{policy.path} was replaced while {name} was played; run the same command again")
    made = write_dataset(out / "dataset", episodes, {"policy": policy.digest, "instructions": instructions.digest})
    facts = {"seconds": seconds, "episodes": len(episodes), "tokens": sum(episode.tokens for episode in episodes)}
    facts |= asdict(usage) if usage.requests else {}
    facts |= {"errors": sum(episode.status == "error" for episode in episodes), "patience": _patience(settings, engine)}
    return TaskOutput(made.digest, "dataset", made.counts, facts)


@cached_task("trajectories", version="4")
def gather(out: Path, *, chunks: list[Artifact]) -> TaskOutput:
    """The chunks of a rollout as one dataset; its facts are their sums, and what ended the episodes other than the world."""
    causes, cut, successes = Counter[str](), Counter({"context": 0, "loop": 0}), 0

    def rows() -> Iterator[Trajectory]:
        nonlocal successes
        for chunk in chunks:
            for row in stream_dataset(chunk.folder):
                if row.status == "error":
                    causes[str(row.error)] += 1
                elif row.cut_by:
                    cut[row.cut_by] += 1
                successes += row.success and row.status != "error"
                yield row

    made = write_dataset(out / "dataset", rows(), {"parents": [chunk.digest for chunk in chunks]})
    facts: dict[str, Any] = {what: sum(chunk.facts[what] for chunk in chunks) for what in ("seconds", "episodes", "tokens")}
    facts |= {what: sum(chunk.facts.get(what, 0) for chunk in chunks) for what in BILLED if any(what in chunk.facts for chunk in chunks)}
    facts |= {"errors": causes.total(), "commonest_error": causes.most_common(1)[0][0] if causes else None}
    facts |= {"cut": dict(cut), "successes": successes}
    facts["parts"] = [{"made": chunk.path, **{what: chunk.facts[what] for what in ("seconds", "episodes", "tokens")}} for chunk in chunks]
    return TaskOutput(made.digest, "dataset", made.counts, facts)

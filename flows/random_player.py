"""The random player of a run: its episodes and scores, played once per instructions and seed.

Invariant: episodes that ended with an error are played again by the next run, because what was missing may have been installed since. If an
error is gone, the run plays a further attempt. Earlier results stay, because other runs may be reading them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from agentevol.data.validation import EpisodeSplit
from agentevol.evaluation.scores import drop_incomplete_overall
from agentevol.report.model import RANDOM
from tasks.artifact import Artifact
from tasks.env_versions import env_versions
from tasks.evaluate import score
from tasks.progress import say
from tasks.random_baseline import errors_persist, roll_out_random


def evaluate_random_player(instructions: Artifact, seed: int, split: EpisodeSplit | None = None) -> tuple[Artifact, Artifact] | None:
    """The random policy's episodes on the instructions, and their scores; None if no environment of them lists its actions.

    `split`: that of the instructions; None is AgentEval.
    """
    inputs: dict[str, Any] = {"instructions": instructions, "seed": seed, "env_versions": env_versions(instructions), "split": split}
    episodes = roll_out_random(**inputs, attempt=_attempt(inputs), label=split or "")
    if error_counts := episodes.facts["error_counts"]:
        errors, first = sum(error_counts.values()), next(iter(error_counts))
        say(f"{RANDOM}: {errors} of {episodes.rows} episodes ended with an error, the first: {first}")
    if not episodes.rows:
        return None
    scores = score(episodes=episodes, label=RANDOM)
    facts = drop_incomplete_overall(scores.facts, lambda env_score: env_score["n"], instructions.counts)
    return episodes, scores.model_copy(update={"facts": facts})


def _attempt(inputs: Mapping[str, Any]) -> int:
    """The first attempt without errors; otherwise the last one, or a new one if one of its errors no longer occurs."""
    last: Artifact | None = None
    for attempt in count():
        tried = {**inputs, "attempt": attempt}
        if not roll_out_random.is_cached(**tried):
            break
        last = roll_out_random.read_artifact(tried)
        if not last.facts["error_counts"]:
            return attempt
    played = {name: inputs[name] for name in ("instructions", "seed", "split")}
    return attempt - 1 if last is not None and errors_persist(last, **played) else attempt

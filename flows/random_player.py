"""The random player of a run: its episodes and scores, played once per instructions and seed.

Invariant: episodes that ended with an error are played again by the next run, because what was missing may have been installed since.
"""

from __future__ import annotations

from typing import Any

from agentevol.data.validation import EpisodeSplit
from agentevol.evaluation.scores import drop_incomplete_overall
from agentevol.report.model import RANDOM
from tasks.artifact import Artifact
from tasks.env_versions import env_versions
from tasks.evaluate import score
from tasks.progress import say
from tasks.random_baseline import roll_out_random
from tasks.shared_store import evict


def evaluate_random_player(instructions: Artifact, seed: int, split: EpisodeSplit | None = None) -> tuple[Artifact, Artifact] | None:
    """The random policy's episodes on the instructions, and their scores; None if no environment of them lists its actions.

    `split`: that of the instructions; None is AgentEval.
    """
    inputs: dict[str, Any] = {"instructions": instructions, "seed": seed, "env_versions": env_versions(instructions), "split": split}
    if roll_out_random.is_cached(**inputs):
        cached = roll_out_random.read_artifact(inputs)
        if cached.facts["error_counts"]:
            evict(cached)
    episodes = roll_out_random(**inputs, label=split or "")
    if error_counts := episodes.facts["error_counts"]:
        errors, first = sum(error_counts.values()), next(iter(error_counts))
        say(f"{RANDOM}: {errors} of {episodes.rows} episodes ended with an error, the first: {first}")
    if not episodes.rows:
        return None
    scores = score(episodes=episodes, label=RANDOM)
    facts = drop_incomplete_overall(scores.facts, lambda env_score: env_score["n"], instructions.counts)
    return episodes, scores.model_copy(update={"facts": facts})

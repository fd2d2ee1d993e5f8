"""Rewards that a server has reported, checked with a sample of its episodes that is played again in this process.

Invariant: the sample is drawn anew for every check, successes first, so a server cannot know which episodes will be played again. An
environment that cannot be checked is returned with the reason.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from agentevol.data.replay_answers import replay_answers
from agentevol.data.trajectory import Trajectory
from agentevol.rollout.engine import one_line_error
from envs.registry import UnknownEnvironment, environment_class

SAMPLE_SIZE = 8
"""Episodes per environment that are played again; half of them at least are successes, if there are so many."""


class RewardMismatch(RuntimeError):
    """A server reported another reward than the same actions give here; the message names the environment, the id and both rewards."""


def check_rewards(episodes: Sequence[Trajectory], servers: Mapping[str, Sequence[str]], rng: random.Random | None = None) -> dict[str, str]:
    """Compare rewards of episodes that were played on `servers` (their URLs by environment).

    Returns the environments that cannot be checked here, with the reasons. Raises RewardMismatch.
    """
    rng = rng or random.SystemRandom()
    unchecked: dict[str, str] = {}
    for env, urls in servers.items():
        played = [episode for episode in episodes if episode.env == env and episode.status != "error"]
        if not played:
            continue
        if reason := _obstacle(env, urls):
            unchecked[env] = reason
            continue
        for episode in _sample(played, rng):
            try:
                reward = replay_answers(episode)[0]
            except Exception as error:  # named boundary: any error of the environment in this process
                unchecked[env] = f"it fails on this machine: {one_line_error(error)}"
                break
            if not math.isclose(reward, episode.reward, abs_tol=1e-9):
                raise RewardMismatch(
                    f"{env}: {episode.item_id} (sample {episode.sample}): the server {' or '.join(urls)} reported reward"
                    f" {episode.reward:g}, the same actions give {reward:g} here. Its rewards are not used: check its version and who"
                    " runs it (rollout.servers)"
                )
    return unchecked


def _obstacle(env: str, urls: Sequence[str]) -> str | None:
    """Why episodes of this environment cannot be played again here, or None."""
    if any(url.startswith("agentgym+") for url in urls):
        return "AgentGym's servers play another implementation"
    try:
        cls = environment_class(env)
    except UnknownEnvironment:
        return "only the server has it"
    if not cls.deterministic:
        return "its episodes are not deterministic"
    return cls.missing()


def _sample(episodes: Sequence[Trajectory], rng: random.Random) -> list[Trajectory]:
    """At most SAMPLE_SIZE episodes. Successes come first, because policies learn from them; half of the places are for the others."""
    successes = [episode for episode in episodes if episode.success]
    others = [episode for episode in episodes if not episode.success]
    num_others = min(len(others), max(SAMPLE_SIZE // 2, SAMPLE_SIZE - len(successes)))
    num_successes = min(len(successes), SAMPLE_SIZE - num_others)
    return rng.sample(successes, num_successes) + rng.sample(others, num_others)

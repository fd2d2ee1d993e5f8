"""Compares a server's environment with this project's: the local expert's actions, replayed on the server.

Invariant: the expert sees the local episode alone, so an action that means something else on the server counts against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from envs.base import ExpertStuck, TextEnv, UnknownItem
from envs.factory import make
from envs.remote.client import ServerFailed

Outcome = Literal["solved", "lost", "other problem", "error", "no expert"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One instruction. `reason`: the server's last words, or the error; empty if it was solved."""

    item_id: str
    outcome: Outcome
    reason: str = ""


def compare(name: str, server: str, item_ids: Sequence[str], report: Callable[[Comparison], None] = lambda _: None) -> list[Comparison]:
    """Replay each instruction. Raises ServerFailed if the first one finds no server."""
    local = make(name)
    comparisons = []
    try:
        for item_id in item_ids:
            remote = make(name, server=server)
            try:
                comparisons.append(_replay(local, remote, item_id))
            finally:
                remote.close()
            report(comparisons[-1])
            if len(comparisons) == 1 and "does not answer" in comparisons[0].reason:
                raise ServerFailed(comparisons[0].reason)
    finally:
        local.close()
    return comparisons


def summary(name: str, comparisons: Sequence[Comparison]) -> str:
    """One line: `babyai: 18 of 20 solved; 1 lost, 1 other problem`."""
    outcomes = [comparison.outcome for comparison in comparisons]
    rest = [f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes) if outcome != "solved"]
    return f"{name}: {outcomes.count('solved')} of {len(outcomes)} solved" + (f"; {', '.join(rest)}" if rest else "")


def _replay(local: TextEnv, remote: TextEnv, item_id: str) -> Comparison:
    observation, _ = local.reset(options={"item_id": item_id})
    expert = local.expert()
    try:
        last_words = remote.reset(options={"item_id": item_id})[0]
        action = "reset"
        while not local.done and not remote.done:
            action = expert.act(observation)[1]
            observation = local.step(action)[0]
            last_words = remote.step(action)[0]
    except ExpertStuck as error:
        return Comparison(item_id, "no expert", str(error))
    except (ServerFailed, UnknownItem) as error:
        other = "another problem" in str(error) or "no selector" in str(error)
        return Comparison(item_id, "other problem" if other else "error", str(error))
    if remote.succeeded(remote.reward):
        return Comparison(item_id, "solved")
    return Comparison(item_id, "lost", f"after the last action, {action!r}, the server says {' '.join(last_words.split())[:150]!r}")

"""The choice among the policies of a run, by their scores on the validation split.

Invariant: AgentEval has no part in it, so the score of the selected policy on AgentEval is not biased by the selection.
"""

from __future__ import annotations

from collections.abc import Sequence

Rank = tuple[float, float]
"""Overall success rate, then mean reward: of two policies with the same success, the one with more reward is better."""


def best_round(ranks: Sequence[Rank]) -> int:
    """The index of the best policy; of equals the first, which took the fewest iterations."""
    return ranks.index(max(ranks))


def should_stop(ranks: Sequence[Rank], patience: int | None) -> bool:
    """Whether the best policy is `patience` or more iterations old."""
    return patience is not None and len(ranks) - 1 - best_round(ranks) >= patience

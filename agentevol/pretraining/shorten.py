"""Shortening an episode that succeeded: actions that did not matter are left out, as far as replaying the rest still succeeds.

Invariant: the result succeeds, and it is a subsequence of the given actions. It works for every environment whose problems replay
deterministically, and it knows nothing of any environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def without_loops(actions: Sequence[str], observations: Sequence[str], succeeds: Callable[[Sequence[str]], bool]) -> list[str]:
    """`actions` without the stretches between equal observations, if the rest still succeeds; otherwise all of them.

    `observations`: what was read before each action. A long random walk becomes short by one replay.
    """
    kept: list[int] = []
    seen: dict[str, int] = {}
    """By its text, each observation on the way that is kept, and how many actions led to it."""
    for index, observation in enumerate(observations):
        if observation in seen:
            del kept[seen[observation] :]
            seen = {text: count for text, count in seen.items() if count <= len(kept)}
        seen[observation] = len(kept)
        kept.append(index)
    candidate = [actions[index] for index in kept]
    return candidate if len(candidate) < len(actions) and succeeds(candidate) else list(actions)


def shorten(actions: Sequence[str], succeeds: Callable[[Sequence[str]], bool], max_replays: int) -> list[str]:
    """`actions` without stretches that are not needed: first halves, then ever smaller stretches down to single actions, over and over.

    `succeeds` replays a sequence from the start and tells whether it reaches the goal with its last action; it is called at most
    `max_replays` times. `actions` itself must succeed.
    """
    kept, replays = list(actions), 0
    removed = True
    while removed:
        removed, size = False, max(1, len(kept) // 2)
        while size:
            start = 0
            while start < len(kept) and replays < max_replays:
                candidate = kept[:start] + kept[start + size :]
                replays += 1
                if candidate and succeeds(candidate):
                    kept, removed = candidate, True
                else:
                    start += max(1, size // 2)
            size //= 2
    return kept

"""Shortening an episode that succeeded: actions that did not matter are left out, as far as replaying the rest still succeeds.

Invariant: the result succeeds, and it is a subsequence of the given actions. It works for every environment whose problems replay
deterministically, and it knows nothing of any environment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


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

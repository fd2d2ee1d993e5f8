"""Subsets: the first instructions of each environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from agentevol.data.trajectory import Trajectory
from envs.base import Instruction

_Item = TypeVar("_Item", Trajectory, Instruction)


def first_instructions(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> list[_Item]:
    """The items of the named environments, in their order, at most `limit` instructions of each (all where None)."""
    return list(stream_first(items, environments, limit))


def stream_first(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> Iterator[_Item]:
    """The same one by one."""
    taken: dict[str, dict[str, None]] = {env: {} for env in environments}
    for item in items:
        if item.env in taken:
            ids = taken[item.env]
            if item.item_id in ids or limit is None or len(ids) < limit:
                ids[item.item_id] = None
                yield item

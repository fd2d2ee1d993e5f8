"""Subsets of a dataset: the first instructions of each environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from agentevol.data.trajectory import Trajectory
from envs.base import Instruction

_Item = TypeVar("_Item", Trajectory, Instruction)


def first_instructions(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> list[_Item]:
    """The items of the first `limit` instructions of each named environment (None: of all), in their order."""
    return list(stream_first_instructions(items, environments, limit))


def stream_first_instructions(items: Iterable[_Item], environments: Sequence[str], limit: int | None = None) -> Iterator[_Item]:
    """As `first_instructions`, one by one."""
    selected: dict[str, dict[str, None]] = {env: {} for env in environments}
    for item in items:
        if item.env in selected:
            ids = selected[item.env]
            if item.item_id in ids or limit is None or len(ids) < limit:
                ids[item.item_id] = None
                yield item

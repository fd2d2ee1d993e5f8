"""The validation split: training instructions that a run neither learns from nor explores, to choose among its policies.

Invariant: no instruction of it has the id or the text of one that the run uses otherwise. The selection takes the instructions from the
end of the fixed order, whose front the other splits take: the split stays the same when their limits change, as long as enough remain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

from envs.base import Instruction, Split

VALIDATION: Final = "validation"
"""The split of its episodes."""
EpisodeSplit = Split | Literal["validation"]


def validation_instructions(
    candidates: Sequence[Instruction],
    environments: Iterable[str],
    limit: int | None,
    *,
    used_ids: Collection[str],
    held_out: Iterable[Instruction] = (),
) -> list[Instruction]:
    """At most `limit` candidates of each environment (None: all) that the run does not use.

    `candidates`: all training instructions. `used_ids`: those in the training sets and in the explore split. `held_out`: AgentEval.
    """
    used_texts = {item.text for item in candidates if item.item_id in used_ids}
    ids, texts = set(used_ids), used_texts
    for item in held_out:
        ids.add(item.item_id)
        texts.add(item.text)
    selected: dict[str, list[Instruction]] = {env: [] for env in environments}
    for item in reversed(candidates):
        chosen = selected.get(item.env)
        if chosen is None or (limit is not None and len(chosen) >= limit):
            continue
        if item.item_id not in ids and item.text not in texts:
            chosen.append(item)
            ids.add(item.item_id)
            texts.add(item.text)
    return [item for chosen in selected.values() for item in chosen]

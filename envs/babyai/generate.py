"""Generates instructions.json, the 900 instructions that ship: `python -m envs.babyai.generate`.

Per level, it takes the first seeds that the expert solves within the round limit and whose text no earlier instruction has; the last two
or three of a level are for evaluation. Invariant: the file is a function of the levels and the expert; no text is in it twice.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from envs.babyai.environment import BabyAI
from envs.babyai.levels import LEVELS
from envs.base import ExpertStuck

FILE = Path(__file__).with_name("instructions.json")
MAX_SEEDS = 2_000
Row = tuple[int, str, str]
"""(data index, goal, digest of the first observation)"""


def solve(env: BabyAI, data_idx: int) -> Row | None:
    """The instruction as a row of the file; None where the expert does not solve it."""
    observation, _ = env.reset(options={"item_id": f"babyai_{data_idx}"})
    goal, _, first_observation = observation.removeprefix("Your goal: ").partition("\n")
    expert = env.expert()
    try:
        while not env.done:
            _, action = expert.act(observation)
            observation = env.step(action)[0]
    except ExpertStuck:
        return None
    digest = hashlib.sha256(first_observation.encode()).hexdigest()[:16]
    return (data_idx, goal, digest) if env.succeeded(env.reward) else None


def solved_rows(env: BabyAI, level_index: int) -> Iterator[Row]:
    """The solved instructions of one level, by seed. Raises RuntimeError after MAX_SEEDS seeds."""
    for seed in range(MAX_SEEDS):
        row = solve(env, seed * len(LEVELS) + level_index)
        if row is not None:
            yield row
    raise RuntimeError(
        f"{LEVELS[level_index]}: the expert solves too few of the first {MAX_SEEDS} seeds; raise MAX_SEEDS or fix the expert"
    )


def select_instructions() -> dict[str, list[Row]]:
    """Both splits, each ordered by data index; the levels' counts differ by one at most."""
    env = BabyAI()
    training_total = env.sizes.instructions - env.sizes.eval
    training: list[Row] = []
    evaluation: list[Row] = []
    texts: set[tuple[str, str]] = set()
    for index, level in enumerate(LEVELS):
        # The totals spread over the levels as evenly as whole numbers allow.
        train_count, eval_count = (
            total * (index + 1) // len(LEVELS) - total * index // len(LEVELS) for total in (training_total, env.sizes.eval)
        )
        rows: list[Row] = []
        for row in solved_rows(env, index):
            if row[1:] not in texts:
                texts.add(row[1:])
                rows.append(row)
            if len(rows) == train_count + eval_count:
                break
        training += rows[:train_count]
        evaluation += rows[train_count:]
        print(f"{level}: {len(rows)} of the first {rows[-1][0] // len(LEVELS) + 1} seeds", file=sys.stderr)
    return {"train": sorted(training), "eval": sorted(evaluation)}


def to_json(instructions: dict[str, list[Row]]) -> str:
    """One row per line, for readable diffs."""
    splits = [f' "{split}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for split, rows in instructions.items()]
    return "{\n" + ",\n".join(splits) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(to_json(select_instructions()), encoding="utf-8")

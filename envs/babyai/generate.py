"""Chooses the 900 instructions and writes envs/babyai/instructions.json: `python -m envs.babyai.choose`.

Per level, the first seeds that the expert solves within the round limit and whose text no earlier choice has; the last two or three of
a level are for evaluation. Invariant: the file is a function of the levels and the expert; no text is in it twice.
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

TARGET = Path(__file__).with_name("instructions.json")
MOST_SEEDS = 2_000
Row = tuple[int, str, str]
"""(data index, goal, digest of the first observation)"""


def solve(env: BabyAI, data_idx: int) -> Row | None:
    """The instruction as a row of the file, where the expert solves it."""
    observation, _ = env.reset(options={"item_id": f"babyai_{data_idx}"})
    goal, _, first = observation.removeprefix("Your goal: ").partition("\n")
    expert = env.expert()
    try:
        while not env.done:
            _, action = expert.act(observation)
            observation = env.step(action)[0]
    except ExpertStuck:
        return None
    return (data_idx, goal, hashlib.sha256(first.encode()).hexdigest()[:16]) if env.succeeded(env.reward) else None


def solved(env: BabyAI, place: int) -> Iterator[Row]:
    """The solved instructions of one level, by seed. Raises RuntimeError where the seeds run out."""
    for seed in range(MOST_SEEDS):
        row = solve(env, seed * len(LEVELS) + place)
        if row is not None:
            yield row
    raise RuntimeError(f"{LEVELS[place]}: too few of the first {MOST_SEEDS} seeds are solved; raise MOST_SEEDS or mend the expert")


def choose() -> dict[str, list[Row]]:
    """Both splits, each ordered by data index; the levels' shares differ by one at most."""
    env = BabyAI()
    training_total = env.sizes.instructions - env.sizes.eval
    training: list[Row] = []
    evaluation: list[Row] = []
    texts: set[tuple[str, str]] = set()
    for place, level in enumerate(LEVELS):
        # Bresenham's shares: level by level, as even as whole numbers allow.
        here = [total * (place + 1) // len(LEVELS) - total * place // len(LEVELS) for total in (training_total, env.sizes.eval)]
        rows: list[Row] = []
        for row in solved(env, place):
            if row[1:] not in texts:
                texts.add(row[1:])
                rows.append(row)
            if len(rows) == sum(here):
                break
        training += rows[: here[0]]
        evaluation += rows[here[0] :]
        print(f"{level}: {sum(here)} of the first {rows[-1][0] // len(LEVELS) + 1} seeds", file=sys.stderr)
    return {"train": sorted(training), "eval": sorted(evaluation)}


def to_json(chosen: dict[str, list[Row]]) -> str:
    """One row a line, so that a change shows as what it is."""
    splits = [f' "{split}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for split, rows in chosen.items()]
    return "{\n" + ",\n".join(splits) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(to_json(choose()), encoding="utf-8")

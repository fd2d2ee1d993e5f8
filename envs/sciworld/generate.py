"""Generates games.json, the variations that ship with their recorded solutions: `python -m envs.sciworld.generate`.

Task types take turns until there are enough games, so that those with few variations give all of theirs. A variation is kept if its gold
path, replayed in a new simulation, reaches the full score within the round limit. It takes a quarter of an hour or more; results so far
are saved in games.part, so that an interrupted run resumes.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor

from envs.sciworld.environment import SciWorld
from envs.sciworld.games import FILE, TASK_TYPES
from envs.sciworld.jvm import JvmDied, Simulation

PARTIAL_FILE = FILE.with_suffix(".part")
_SLOW_TASK_TYPES = ("mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant")  # a minute per gold path
_SLOW_VARIATIONS = 3  # the number of variations taken of each of them
Candidate = tuple[int, int, int]
"""(index of the task type, variation, 1 if held out for eval else 0)"""
Entry = tuple[int, int, int, str, str]
"""(*candidate, description, gold path with its actions joined by |)"""


def candidates() -> list[Candidate]:
    """The variations to try, in order: the task types take turns."""
    result: list[Candidate] = []
    for held_out, split in ((0, "train"), (1, "test")):
        by_type: list[list[Candidate]] = []
        for type_index, task_type in enumerate(TASK_TYPES):
            simulation = Simulation(task_type, 0)
            variations = simulation.variations(split)
            simulation.close()
            limit = _SLOW_VARIATIONS if task_type in _SLOW_TASK_TYPES else None
            by_type.append([(type_index, variation, held_out) for variation in variations][:limit])
        sizes = SciWorld.sizes
        count = sizes.eval if held_out else sizes.instructions - sizes.eval
        in_turns = [entries[turn] for turn in range(max(map(len, by_type))) for entries in by_type if turn < len(entries)]
        result += in_turns[: int(count * 1.15)]
    return result


def solve(candidate: Candidate) -> Entry | None:
    """The variation with its gold path; None where that does not reach the full score."""
    type_index, variation, held_out = candidate
    try:
        recorded = Simulation(TASK_TYPES[type_index], variation, gold=True)
        gold_path, description = recorded.gold_path(), recorded.description
        recorded.close()
        replayed = Simulation(TASK_TYPES[type_index], variation)
        replayed.reset()
        steps = 0
        while steps < len(gold_path) and not replayed.completed:
            replayed.step(gold_path[steps])
            steps += 1
        score = replayed.score
        replayed.close()
    except JvmDied as error:
        print(f"{TASK_TYPES[type_index]} {variation}: {error}", file=sys.stderr)
        return None
    if score < 1 or not 1 <= steps <= SciWorld.max_rounds or any("|" in action for action in gold_path):
        return None
    text = " ".join(description.split())
    return (type_index, variation, held_out, text, "|".join(gold_path[:steps])) if text.isascii() else None


def main() -> None:
    results: dict[str, Entry | None] = json.loads(PARTIAL_FILE.read_text()) if PARTIAL_FILE.exists() else {}
    to_try = candidates()
    remaining = [candidate for candidate in to_try if str(list(candidate)) not in results]
    with ProcessPoolExecutor(2) as pool:
        for done, (candidate, entry) in enumerate(zip(remaining, pool.map(solve, remaining), strict=True), 1):
            results[str(list(candidate))] = entry
            if done % 50 == 0 or done == len(remaining):
                PARTIAL_FILE.write_text(json.dumps(results))
                print(f"{done} of {len(remaining)}", flush=True)
    sizes = SciWorld.sizes
    games: list[Entry] = []
    for held_out, count in ((0, sizes.instructions - sizes.eval), (1, sizes.eval)):
        entries = [entry for candidate in to_try if candidate[2] == held_out and (entry := results[str(list(candidate))])]
        if len(entries) < count:
            raise RuntimeError(f"only {len(entries)} of {count} variations can be solved")
        games += entries[:count]
    descriptions = sorted({text for *_, text, _ in games})
    lines = ",\n".join(json.dumps([*candidate, descriptions.index(text), gold_path]) for *candidate, text, gold_path in games)
    FILE.write_text(f'{{"descriptions": {json.dumps(descriptions, indent=0)},\n"games": [\n{lines}\n]}}\n', encoding="ascii")
    PARTIAL_FILE.unlink()
    print(f"{FILE}: {len(games)} games")


if __name__ == "__main__":
    main()

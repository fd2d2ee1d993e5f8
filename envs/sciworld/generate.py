"""Makes games.json, the variations that ship with their recorded solutions: `python -m envs.sciworld.choose`.

Task types take turns until the count is reached, so that those with few variations give all of theirs. A variation is kept when its gold
path, played again in a simulation of its own, reaches the full score within the round limit. Takes a quarter of an hour or more: what is
found is kept beside games.json (games.part) and not looked for again.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor

from envs.sciworld.environment import FILE, TASKS, SciWorld
from envs.sciworld.jvm import HostDied, Simulation

PART = FILE.with_suffix(".part")
_SLOW = 3  # variations and no more of tasks whose gold path takes a minute to find
_SLOW_TASKS = ("mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant")
Entry = tuple[int, int, int, str, str]


def candidates() -> list[tuple[int, int, int]]:
    """(task, variation, held out) in the order in which they are taken: task types in turns."""
    found = []
    for held_out, split in ((0, "train"), (1, "test")):
        lists = []
        for number, task in enumerate(TASKS):
            simulation = Simulation(task, 0)
            variations = simulation.variations(split)
            simulation.close()
            lists.append([(number, variation, held_out) for variation in variations][: _SLOW if task in _SLOW_TASKS else None])
        sizes = SciWorld.sizes
        count = sizes.eval if held_out else sizes.instructions - sizes.eval
        turns = [entries[turn] for turn in range(max(map(len, lists))) for entries in lists if turn < len(entries)]
        found += turns[: int(count * 1.15)]
    return found


def solved(candidate: tuple[int, int, int]) -> Entry | None:
    """The variation with its gold path, where that reaches the full score."""
    task, variation, held_out = candidate
    try:
        maker = Simulation(TASKS[task], variation, gold=True)
        gold, description = maker.gold(), maker.description
        maker.close()
        played = Simulation(TASKS[task], variation)
        played.reset()
        steps = 0
        while steps < len(gold) and not played.completed:
            played.step(gold[steps])
            steps += 1
        score = played.score
        played.close()
    except HostDied as error:
        print(f"{TASKS[task]} {variation}: {error}", file=sys.stderr)
        return None
    if score < 1 or not 1 <= steps <= SciWorld.max_rounds or any("|" in action for action in gold):
        return None
    text = " ".join(description.split())
    return (task, variation, held_out, text, "|".join(gold[:steps])) if text.isascii() else None


def main() -> None:
    known: dict[str, Entry | None] = json.loads(PART.read_text()) if PART.exists() else {}
    wanted = candidates()
    open_ones = [candidate for candidate in wanted if str(list(candidate)) not in known]
    with ProcessPoolExecutor(2) as pool:
        for done, (candidate, entry) in enumerate(zip(open_ones, pool.map(solved, open_ones), strict=True), 1):
            known[str(list(candidate))] = entry
            if done % 50 == 0 or done == len(open_ones):
                PART.write_text(json.dumps(known))
                print(f"{done} of {len(open_ones)}", flush=True)
    sizes = SciWorld.sizes
    games: list[Entry] = []
    for held_out, count in ((0, sizes.instructions - sizes.eval), (1, sizes.eval)):
        entries = [entry for candidate in wanted if candidate[2] == held_out and (entry := known[str(list(candidate))])]
        if len(entries) < count:
            raise RuntimeError(f"only {len(entries)} of {count} variations can be solved")
        games += entries[:count]
    descriptions = sorted({text for *_, text, _ in games})
    lines = ",\n".join(json.dumps([*front, descriptions.index(text), gold]) for *front, text, gold in games)
    FILE.write_text(f'{{"descriptions": {json.dumps(descriptions, indent=0)},\n"games": [\n{lines}\n]}}\n', encoding="ascii")
    PART.unlink()
    print(f"{FILE}: {len(games)} games")


if __name__ == "__main__":
    main()

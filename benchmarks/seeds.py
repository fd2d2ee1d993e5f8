"""Several seeds of the main job as one table: `python -m benchmarks.seeds runs/M4-K1-s0-... runs/M4-K1-s1-...` (report folders).

Successes are summed over the seeds, with Wilson intervals; the paired test takes every (seed, instruction) as a pair. The seeds share their
instructions, so pairs of one instruction are not independent of each other: each seed's own test is printed beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentevol.evaluation.paired_tests import mcnemar_from_counts
from agentevol.evaluation.scores import OVERALL, wilson
from agentevol.report.model import BC_BASE


def main(folders: list[str]) -> None:
    runs = [json.loads((Path(folder) / "scores.json").read_text(encoding="utf-8")) for folder in folders]
    policies = [label for label in runs[0]["policies"] if all(label in run["policies"] for run in runs)]
    worlds = in_order(runs[0]["policies"][BC_BASE])
    print(f"success in %, {len(runs)} seeds together, 95 % Wilson interval\n")
    print(f"| environment | n | {' | '.join(policies)} |\n|---|---|{'---|' * len(policies)}")
    for world in worlds:
        cells = [cell([run["policies"][label][world] for run in runs if world in run["policies"][label]]) for label in policies]
        print(f"| {world} | {sum(run['policies'][BC_BASE][world]['n'] for run in runs)} | {' | '.join(cells)} |")
    print()
    for test in runs[0]["paired"]:
        same = [next(t for t in run["paired"] if (t["a"], t["b"]) == (test["a"], test["b"])) for run in runs]
        print(f"{test['a']} against {test['b']}: gained / lost, exact McNemar (each seed; together)\n")
        for world in in_order(test["results"]):
            results = [t["results"][world] for t in same]
            pooled = mcnemar_from_counts(*(sum(result[name] for result in results) for name in ("n", "only_a", "only_b")))
            each = ", ".join(f"{result['only_a']}/{result['only_b']} p = {result['p_value']:.2g}" for result in results)
            points = f"{100 * pooled.difference:+.1f} points"
            print(f"- {world}: {each}; together {pooled.only_a}/{pooled.only_b} of {pooled.n}, {points}, p = {pooled.p_value:.2g}")
        print()


def in_order(worlds: Iterable[str]) -> list[str]:
    return sorted(worlds, key=lambda world: (world == OVERALL, world))


def cell(scores: list[dict[str, Any]]) -> str:
    successes, n = sum(score["successes"] for score in scores), sum(score["n"] for score in scores)
    low, high = wilson(successes, n)
    return f"{100 * successes / n:.1f} [{100 * low:.0f}, {100 * high:.0f}]" if n else "-"


if __name__ == "__main__":
    main(sys.argv[1:])

"""Several seeds of a run as one table: `python -m benchmarks.seeds runs/M4-K1-s0-... runs/M4-K1-s1-...` (report folders).

Successes are summed over the seeds, with Wilson intervals; in the pooled paired test every (seed, instruction) is a pair. The seeds share
their instructions, so the pairs of one instruction are not independent: the test of each seed is printed too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentevol.evaluation.paired_tests import mcnemar_from_counts
from agentevol.evaluation.scores import OVERALL, wilson
from agentevol.report.formatting import format_p_equation, format_points, format_rate
from agentevol.report.model import BC_BASE


def main(folders: list[str]) -> None:
    runs = [json.loads((Path(folder) / "scores.json").read_text(encoding="utf-8")) for folder in folders]
    policies = [label for label in runs[0]["policies"] if all(label in run["policies"] for run in runs)]
    environments = in_order(runs[0]["policies"][BC_BASE])
    print(f"success in %, {len(runs)} seeds pooled, 95 % Wilson interval\n")
    print(f"| environment | n | {' | '.join(policies)} |\n|---|---|{'---|' * len(policies)}")
    for env in environments:
        cells = [cell([run["policies"][label][env] for run in runs if env in run["policies"][label]]) for label in policies]
        print(f"| {env} | {sum(run['policies'][BC_BASE][env]['n'] for run in runs)} | {' | '.join(cells)} |")
    print()
    for test in runs[0]["paired"]:
        tests = [next(t for t in run["paired"] if (t["a"], t["b"]) == (test["a"], test["b"])) for run in runs]
        print(f"{test['a']} against {test['b']}: gained / lost, exact McNemar (each seed; pooled)\n")
        for env in in_order(test["results"]):
            results = [t["results"][env] for t in tests]
            pooled = mcnemar_from_counts(*(sum(result[name] for result in results) for name in ("n", "only_a", "only_b")))
            each = ", ".join(f"{result['only_a']}/{result['only_b']} {format_p_equation(result['p_value'])}" for result in results)
            difference = f"{format_points(pooled)} points, {format_p_equation(pooled.p_value)}"
            print(f"- {env}: {each}; pooled {pooled.only_a}/{pooled.only_b} of {pooled.n}, {difference}")
        print()


def in_order(environments: Iterable[str]) -> list[str]:
    return sorted(environments, key=lambda env: (env == OVERALL, env))


def cell(scores: list[dict[str, Any]]) -> str:
    successes, n = sum(score["successes"] for score in scores), sum(score["n"] for score in scores)
    low, high = wilson(successes, n)
    return format_rate({"n": n, "success": successes / n if n else None, "success_low": low, "success_high": high})


if __name__ == "__main__":
    main(sys.argv[1:])

"""The picture of the README: the main job by seed and by environment. `python -m docs.generate.seeds_picture` writes docs/images/seeds.svg.

Left: every seed and their mean over all instructions. Right: the mean of each environment. Everything is read from
docs/results/main-job/records.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from agentevol.evaluation.clusters import rate_interval
from agentevol.evaluation.scores import wilson

DOCS = Path(__file__).parents[1]
RECORDS = DOCS / "results" / "main-job" / "records"
POLICIES = ["BC-Base", "Iteration 1", "Iteration 2", "Iteration 3", "Iteration 4", "BC-Large"]
TICKS = ["BC-Base", "1", "2", "3", "4", "BC-Large"]
BLUE, GREY = "#2b5fad", "#8a8a8a"
COLOURS = ("#2b5fad", "#c8553d", "#3f8f5f", "#8d6a9f")
MARKERS = ("o", "s", "^", "v")

Episodes = dict[str, dict[str, Any]]
"""By environment: `success` and `status`, one character per instruction."""


def main() -> None:
    mpl.rcParams.update({"svg.hashsalt": "agentevol", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RECORDS.glob("*.json"))]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True, layout="constrained")
    _overall(left, records)
    _by_environment(right, records)
    left.set_ylabel("success on AgentEval, %")
    left.set_ylim(0, 100)
    figure.savefig(DOCS / "images" / "seeds.svg", metadata={"Date": None})


def _overall(axes: Axes, records: list[dict[str, Any]]) -> None:
    n = len(_outcomes([records[0]["policies"]["BC-Base"]]))
    if len(records) > 1:
        for number, record in enumerate(records):
            rates = [_rate(_outcomes([record["policies"][policy]])) for policy in POLICIES]
            axes.plot(range(5), rates[:5], color=GREY, linewidth=0.9, marker=".", label=None if number else f"each seed (n = {n})")
            axes.plot(5, rates[5], color=GREY, marker=".")
    _curve(axes, [_outcomes([record["policies"][policy] for record in records]) for policy in POLICIES])
    random = _rate(_outcomes([records[0]["random"]]))
    axes.axhline(random, color=GREY, linestyle=":", linewidth=1)
    axes.annotate("random player", (5.2, random), xytext=(0, -11), textcoords="offset points", color=GREY, ha="right")
    seeds = f"mean of {len(records)} seeds" if len(records) > 1 else f"seed {records[0]['seed']}"
    axes.set_title(f"All four environments\n{n} instructions, {seeds}, 95 % intervals", fontsize=9)
    if len(records) > 1:
        axes.legend(frameon=False, loc="upper left")


def _by_environment(axes: Axes, records: list[dict[str, Any]]) -> None:
    for env, colour, marker in zip(records[0]["instructions"], COLOURS, MARKERS, strict=False):
        rates = [_rate(_outcomes([{env: record["policies"][policy][env]} for record in records])) for policy in POLICIES]
        axes.plot(range(5), rates[:5], color=colour, marker=marker, label=f"{env} (n = {len(records[0]['instructions'][env])})")
        axes.plot(5, rates[5], color=colour, marker=marker)
    axes.set_xticks(range(len(TICKS)), TICKS)
    axes.set_xlabel("iteration of AgentEvol")
    axes.set_title("By environment\n", fontsize=9)
    axes.legend(frameon=False, loc="lower left", ncols=2)


def _curve(axes: Axes, outcomes: list[list[tuple[float, int]]]) -> None:
    rates = [_rate(of_policy) for of_policy in outcomes]
    intervals = [_interval(of_policy) for of_policy in outcomes]
    low = [rate - 100 * interval[0] for rate, interval in zip(rates, intervals, strict=True)]
    high = [100 * interval[1] - rate for rate, interval in zip(rates, intervals, strict=True)]
    axes.errorbar(range(5), rates[:5], [low[:5], high[:5]], color=BLUE, marker="o", capsize=3, label="mean of the seeds")
    axes.errorbar([5], rates[5:], [low[5:], high[5:]], color=BLUE, marker="D", capsize=3)
    axes.set_xticks(range(len(rates)), TICKS)
    axes.set_xlabel("iteration of AgentEvol")


def _rate(outcomes: list[tuple[float, int]]) -> float:
    return 100 * sum(solved for solved, _ in outcomes) / sum(played for _, played in outcomes)


def _interval(outcomes: list[tuple[float, int]]) -> tuple[float, float]:
    """Wilson's interval where every instruction was played once, else a bootstrap over the instructions."""
    solved, played = [solved for solved, _ in outcomes], [played for _, played in outcomes]
    return wilson(round(sum(solved)), len(solved)) if max(played) == 1 else rate_interval(solved, played)


def _outcomes(seeds: list[Episodes]) -> list[tuple[float, int]]:
    """(successes, scored episodes) of each instruction over the seeds, whose records have the instructions in the same order."""
    outcomes: list[tuple[float, int]] = []
    for env in seeds[0]:
        for marks in zip(*(zip(seed[env]["success"], seed[env]["status"], strict=True) for seed in seeds), strict=True):
            scored = [success for success, status in marks if status != "e"]
            if scored:
                outcomes.append((float(scored.count("1")), len(scored)))
    return outcomes


if __name__ == "__main__":
    main()

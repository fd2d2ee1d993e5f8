"""What fell since the baseline: `python -m benchmarks.check RESULTS [--baseline FILE] [--accept]`.

RESULTS is a file that benchmarks have written (`--json`). Each ratio in it is compared with the committed one; those that fell by more than
10 % are named and the exit code is 1. `--accept` makes the results the new baseline. A ratio that is on one side only is told, not judged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("baseline.json")
TOLERATED = 0.10

Results = Mapping[str, Mapping[str, Any]]


def fallen(results: Results, baseline: Results) -> list[str]:
    """A line for each ratio that lies more than TOLERATED below its baseline."""
    lines = []
    for name, now, before in _pairs(results, baseline):
        if now < before * (1 - TOLERATED):
            lines.append(f"{name}: {now:.3g}, was {before:.3g} ({100 * (now / before - 1):.0f} %)")
    return lines


def unpaired(results: Results, baseline: Results) -> list[str]:
    """The ratios of these benchmarks that are on one side only."""
    ours, theirs = _ratios(results), _ratios({name: baseline[name] for name in results if name in baseline})
    return [f"{name}: not in the baseline" for name in ours if name not in theirs] + [
        f"{name}: not measured" for name in theirs if name not in ours
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--accept", action="store_true", help="these results are the baseline from now on")
    asked = parser.parse_args()
    results = json.loads(asked.results.read_text(encoding="utf-8"))
    baseline = json.loads(asked.baseline.read_text(encoding="utf-8")) if asked.baseline.is_file() else {}
    if asked.accept:
        asked.baseline.write_text(json.dumps({**baseline, **results}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{asked.baseline}: {', '.join(sorted(results))} accepted")
        return 0
    for line in unpaired(results, baseline):
        print(line)
    worse = fallen(results, baseline)
    for line in worse:
        print(f"fell by more than {100 * TOLERATED:.0f} %: {line}")
    print(f"{len(list(_pairs(results, baseline)))} ratios compared, {len(worse)} fell")
    return 1 if worse else 0


def _ratios(results: Results) -> dict[str, float]:
    return {f"{benchmark}, {name}": value for benchmark, found in results.items() for name, value in found["ratios"].items()}


def _pairs(results: Results, baseline: Results) -> list[tuple[str, float, float]]:
    before = _ratios(baseline)
    return [(name, now, before[name]) for name, now in _ratios(results).items() if name in before]


if __name__ == "__main__":
    raise SystemExit(main())

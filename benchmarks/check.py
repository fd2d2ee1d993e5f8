"""Compares benchmark results with the baseline: `python -m benchmarks.check RESULTS [--baseline FILE] [--accept]`.

RESULTS is a file that benchmarks have written (`--json`). If a ratio in it is more than 10 % below the baseline, it is printed and the exit
code is 1. `--accept` makes the results the new baseline. A ratio that only one of the two files has is printed and does not fail the check.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.10

Results = Mapping[str, Mapping[str, Any]]


def regressions(results: Results, baseline: Results) -> list[str]:
    """One line for each ratio that is more than TOLERANCE below the baseline."""
    lines = []
    for name, value, expected in _pairs(results, baseline):
        if value < expected * (1 - TOLERANCE):
            lines.append(f"{name}: {value:.3g}, was {expected:.3g} ({100 * (value / expected - 1):.0f} %)")
    return lines


def unpaired(results: Results, baseline: Results) -> list[str]:
    """One line for each ratio of these benchmarks that only the results or only the baseline have."""
    measured, expected = _ratios(results), _ratios({name: baseline[name] for name in results if name in baseline})
    return [f"{name}: not in the baseline" for name in measured if name not in expected] + [
        f"{name}: not measured" for name in expected if name not in measured
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--accept", action="store_true", help="make these results the new baseline")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    baseline = json.loads(arguments.baseline.read_text(encoding="utf-8")) if arguments.baseline.is_file() else {}
    if arguments.accept:
        arguments.baseline.write_text(json.dumps({**baseline, **results}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{arguments.baseline}: {', '.join(sorted(results))} accepted")
        return 0
    for line in unpaired(results, baseline):
        print(line)
    failed = regressions(results, baseline)
    for line in failed:
        print(f"fell by more than {100 * TOLERANCE:.0f} %: {line}")
    print(f"{len(list(_pairs(results, baseline)))} ratios compared, {len(failed)} fell")
    return 1 if failed else 0


def _ratios(results: Results) -> dict[str, float]:
    return {f"{benchmark}, {name}": value for benchmark, result in results.items() for name, value in result["ratios"].items()}


def _pairs(results: Results, baseline: Results) -> list[tuple[str, float, float]]:
    expected = _ratios(baseline)
    return [(name, value, expected[name]) for name, value in _ratios(results).items() if name in expected]


if __name__ == "__main__":
    raise SystemExit(main())

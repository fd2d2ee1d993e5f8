"""The plot of a run: success over the iterations with its intervals, and BC-Base and BC-Large as horizontal lines.

Invariant: a ring marks the selected policy. The same scores give the same pixels, whatever the fonts, the display and the time of the
machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isnan
from pathlib import Path
from typing import Any

from agentevol.evaluation.scores import OVERALL, Score
from agentevol.report.model import BC_BASE, BC_LARGE, RANDOM, ZERO_SHOT, ReportInput

_CURVE_COLOUR = "#1f5fa8"
_REFERENCES = {
    BC_BASE: ("#5f6670", (0, (4, 3))),
    BC_LARGE: ("#c8641e", "-"),
    ZERO_SHOT: ("#7a5195", (0, (5, 2, 1, 2))),
    RANDOM: ("#8a9099", (0, (1, 2))),
}
"""The policies drawn as horizontal lines: colour and line style."""


def draw_curve(path: Path, runs: ReportInput) -> None:
    """Write a PNG with the overall curve and one small panel per environment (none if there is only one environment)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    environments = [name for name in runs.environments if name != OVERALL]
    rows = 2 if len(environments) <= 6 else 3
    columns = ceil(len(environments) / rows) if len(environments) > 1 else 0
    figure = Figure(figsize=(6.2 + 2.9 * columns, 2.6 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 2 * columns + 4 if columns else 4)
    main = figure.add_subplot(grid[:, :4])
    _panel(main, runs, OVERALL, large=True)
    for index, name in enumerate(environments if columns else []):
        row, column = divmod(index, columns)
        _panel(figure.add_subplot(grid[row, 4 + 2 * column : 6 + 2 * column]), runs, name, large=False)
    figure.suptitle("AgentEvol on AgentEval: success over the iterations, 95 % intervals", fontsize=13, x=0.008, ha="left")
    figure.savefig(path, format="png", metadata={"Software": None})


def _panel(axes: Any, runs: ReportInput, name: str, large: bool) -> None:
    """Draw one environment: the curve with its 95 % band, and the policies of _REFERENCES as horizontal lines."""
    points = [(iteration, runs.scores[label][name]) for iteration, label in enumerate(runs.curve) if name in runs.scores[label]]
    points = [(iteration, score) for iteration, score in points if not isnan(score.success)]
    last = max(len(runs.curve) - 1, 1)
    references = {label: score for label in _REFERENCES if (score := runs.scores.get(label, {}).get(name)) is not None and score.n}
    for label, score in references.items():
        colour, style = _REFERENCES[label]
        axes.hlines(100 * score.success, -0.03 * last, last * 1.03, color=colour, linestyle=style, linewidth=1.4, zorder=3)
    iterations = [iteration for iteration, _ in points]
    rates = [100 * score.success for _, score in points]
    lows, highs = [100 * score.success_low for _, score in points], [100 * score.success_high for _, score in points]
    axes.fill_between(iterations, lows, highs, color=_CURVE_COLOUR, alpha=0.15, linewidth=0)
    axes.plot(iterations, rates, color=_CURVE_COLOUR, linewidth=2.4 if large else 1.6, marker="o", markersize=6 if large else 3.5, zorder=5)
    if runs.selected and (selected := [point for point in points if point[0] == runs.curve.index(runs.selected)]):
        rate = 100 * selected[0][1].success
        axes.plot([selected[0][0]], [rate], marker="o", markersize=12 if large else 7, fillstyle="none", color=_CURVE_COLOUR, zorder=6)
    axes.set_xlim(-0.03 * last, last * (1.25 if large else 1.03))
    axes.set_xticks(range(len(runs.curve)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    n = references[BC_BASE].n if BC_BASE in references else 0
    axes.set_title(f"all environments (n = {n})" if large else f"{name} (n = {n})", fontsize=11 if large else 9.5, loc="left")
    axes.tick_params(labelsize=9 if large else 8)
    if not large:
        axes.set_ylim(-3, 103)
        return
    bounds = [*lows, *highs]
    bounds += [100 * value for label, score in references.items() if label != BC_BASE for value in (score.success_low, score.success_high)]
    axes.set_ylim(max(-2, min(bounds, default=0) - 6), min(102, max(bounds, default=100) + 6))
    axes.set_xlabel("iteration (0 is behavioural cloning, BC-Base)")
    axes.set_ylabel("success, %")
    _draw_labels(axes, rates, last, references)


def _draw_labels(axes: Any, rates: list[float], last: int, references: Mapping[str, Score]) -> None:
    """Write the policies' labels at the right end of the lines, moved up if they would overlap."""
    labels = [(100 * score.success, label, _REFERENCES[label][0]) for label, score in references.items()]
    if rates:
        labels.append((rates[-1], "AgentEvol", _CURVE_COLOUR))
    low, high = axes.get_ylim()
    gap = (high - low) * 0.075
    height = low
    for value, label, colour in sorted(labels):
        height = max(value, height + gap)
        axes.text(
            last * 1.05, height, f"{label}\n{value:.1f} %", color=colour, va="center", fontsize=9, fontweight="bold", linespacing=1.05
        )

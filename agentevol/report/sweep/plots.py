"""The plots of a sweep's report, as SVG text for an HTML page.

Invariant: the same scores give the same text. The colours suit colour-blind readers, and every line has its own marker.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.evaluation.scores import Score
from agentevol.report.model import OUTPUT_OF_PHASE

COLOURS = ("#1f5fa8", "#d55e00", "#009e73", "#cc79a7", "#7a5195", "#56780f", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_GREY = "#5f6670"
MAX_BANDS = 4  # with more lines, overlapping bands cannot be read
Points = Sequence[Score | None]


def curves(lines: Mapping[str, Points], references: Mapping[str, Score | None], title: str, small: bool = False) -> str:
    """Success over the iterations: a line for each setting, with its 95 % band if there are at most MAX_BANDS lines.

    `references`: policies drawn as dashed horizontal lines.
    """
    figure, axes = _figure((3.6, 2.5) if small else (7.6, 4.0))
    longest = max((len(points) for points in lines.values()), default=1)
    for index, (name, points) in enumerate(lines.items()):
        scored = [(iteration, point) for iteration, point in enumerate(points) if point is not None and point.n]
        iterations = [iteration for iteration, _ in scored]
        if len(lines) <= MAX_BANDS:
            low, high = [100 * point.success_low for _, point in scored], [100 * point.success_high for _, point in scored]
            axes.fill_between(iterations, low, high, color=_colour(index), alpha=0.13, linewidth=0)
        rates = [100 * point.success for _, point in scored]
        axes.plot(iterations, rates, color=_colour(index), marker=MARKERS[index % len(MARKERS)], markersize=4 if small else 6, label=name)
    for name, reference in references.items():
        if reference is not None and reference.n:
            axes.axhline(100 * reference.success, color=_GREY, linestyle=(0, (4, 3)) if name != "random" else (0, (1, 2)), linewidth=1.2)
            style = {"color": _GREY, "va": "center", "fontsize": 8, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
            axes.text(longest - 0.9, 100 * reference.success, name, **style)
    axes.set_xlim(-0.1, longest - 0.98 + (0.55 if small else 0.35))
    axes.set_xticks(range(longest))
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=10 if small else 12, loc="left")
    if not small:
        axes.set_xlabel("iteration (0 is BC-Base)")
        axes.set_ylabel("success on AgentEval, %")
        figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    return _svg(figure)


def bars(values: Mapping[str, Score], title: str) -> str:
    """Success of policies with their 95 % intervals, as horizontal bars."""
    figure, axes = _figure((7.6, 0.9 + 0.42 * len(values)))
    names = list(values)
    rates = [100 * values[name].success for name in names]
    low = [max(0.0, rate - 100 * values[name].success_low) for rate, name in zip(rates, names, strict=True)]
    high = [max(0.0, 100 * values[name].success_high - rate) for rate, name in zip(rates, names, strict=True)]
    colours = [COLOURS[0] if name.startswith("AgentEvol") else "#aab0b8" for name in names]
    axes.barh(names, rates, xerr=[low, high], color=colours, height=0.62, error_kw={"ecolor": "#22262b", "elinewidth": 1, "capsize": 3})
    for row, (rate, above) in enumerate(zip(rates, high, strict=True)):
        axes.text(rate + above + 0.6, row, f"{rate:.1f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(rate + above for rate, above in zip(rates, high, strict=True)) * 1.12 + 1)
    axes.set_xlabel("success on AgentEval, %")
    axes.set_title(title, fontsize=12, loc="left")
    return _svg(figure)


def balance(seconds: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Minutes of each phase of each policy, as stacked bars."""
    figure, axes = _figure((7.6, 0.9 + 0.38 * len(seconds)))
    names, left = list(seconds), [0.0] * len(seconds)
    steps = [step for step in OUTPUT_OF_PHASE if any(step in of_policy for of_policy in seconds.values())]
    for index, step in enumerate(steps):
        widths = [seconds[name].get(step, 0.0) / 60 for name in names]
        axes.barh(names, widths, left=left, color=COLOURS[index], height=0.62, label=step)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("minutes, one seed")
    figure.legend(frameon=False, fontsize=9, ncols=5, loc="outside lower center")
    axes.set_title(title, fontsize=12, loc="left")
    return _svg(figure)


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#e9ebee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "agentevol", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]

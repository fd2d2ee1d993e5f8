"""How figures are written in reports and tables: the one place for rates with their intervals, and for durations."""

from __future__ import annotations

from agentevol.evaluation.scores import Score


def rate(score: Score | None, metric: str = "success", digits: int = 0) -> str:
    """Success or reward x 100 with its 95 % interval, `41.2 [36, 47]`; `-` where nothing was played. `digits`: those of the interval."""
    if score is None or not score.n:
        return "-"
    value, low, high = (100 * float(getattr(score, f"{metric}{part}")) for part in ("", "_low", "_high"))
    return f"{value:.1f} [{low:.{digits}f}, {high:.{digits}f}]"


def duration(seconds: float) -> str:
    """`8.1 s`, `12 min 05 s`, `1 h 02 min`"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"

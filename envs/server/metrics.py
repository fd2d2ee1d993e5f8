"""What /metrics tells, in Prometheus' text form."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

_BOUNDS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, float("inf"))


class Figures:
    """Counted since the start: seconds of the worlds' steps and their faults per environment, errors per status."""

    def __init__(self) -> None:
        self.errors: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._steps: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))

    def step(self, environment: str, seconds: float) -> None:
        self._steps[environment][bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[environment] += seconds

    def text(self, sessions: Mapping[str, int], given_up: int) -> str:
        """`sessions`: how many there are now, per environment; `given_up`: steps that took too long."""
        lines = ["# TYPE agentevol_sessions gauge"]
        lines += [f'agentevol_sessions{{environment="{name}"}} {count}' for name, count in sorted(sessions.items())]
        lines += ["# TYPE agentevol_given_up_total counter", f"agentevol_given_up_total {given_up}"]
        lines.append("# TYPE agentevol_errors_total counter")
        lines += [f'agentevol_errors_total{{status="{status}"}} {count}' for status, count in sorted(self.errors.items())]
        lines.append("# TYPE agentevol_faults_total counter")
        lines += [f'agentevol_faults_total{{environment="{name}"}} {count}' for name, count in sorted(self.faults.items())]
        lines.append("# TYPE agentevol_step_seconds histogram")
        for name, counts in sorted(self._steps.items()):
            total = 0
            for bound, count in zip(_BOUNDS, counts, strict=True):
                total += count
                label = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f'agentevol_step_seconds_bucket{{environment="{name}",le="{label}"}} {total}')
            lines.append(f'agentevol_step_seconds_sum{{environment="{name}"}} {self._seconds[name]:.6f}')
            lines.append(f'agentevol_step_seconds_count{{environment="{name}"}} {total}')
        return "\n".join(lines) + "\n"

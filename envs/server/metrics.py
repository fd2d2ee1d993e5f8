"""The server's metrics, in Prometheus' text format at /metrics.

Invariant: the names of the metrics are public; they stay as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

_BUCKETS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, float("inf"))
"""Upper bounds of the histogram of step times, in seconds."""


class Metrics:
    """Counters since the start: times of steps and errors per environment, error responses per HTTP status."""

    def __init__(self) -> None:
        self.error_responses: Counter[int] = Counter()
        self.environment_errors: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._steps: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(_BUCKETS))

    def observe_step(self, environment: str, seconds: float) -> None:
        self._steps[environment][bisect_left(_BUCKETS, seconds)] += 1
        self._seconds[environment] += seconds

    def to_prometheus(self, sessions: Mapping[str, int], abandoned: int) -> str:
        """`sessions`: how many are open now, per environment; `abandoned`: calls that took too long."""
        lines = ["# TYPE agentevol_sessions gauge"]
        lines += [f'agentevol_sessions{{environment="{name}"}} {count}' for name, count in sorted(sessions.items())]
        lines += ["# TYPE agentevol_given_up_total counter", f"agentevol_given_up_total {abandoned}"]
        lines.append("# TYPE agentevol_errors_total counter")
        lines += [f'agentevol_errors_total{{status="{status}"}} {count}' for status, count in sorted(self.error_responses.items())]
        lines.append("# TYPE agentevol_faults_total counter")
        lines += [f'agentevol_faults_total{{environment="{name}"}} {count}' for name, count in sorted(self.environment_errors.items())]
        lines.append("# TYPE agentevol_step_seconds histogram")
        for name, counts in sorted(self._steps.items()):
            total = 0
            for bound, count in zip(_BUCKETS, counts, strict=True):
                total += count
                label = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f'agentevol_step_seconds_bucket{{environment="{name}",le="{label}"}} {total}')
            lines.append(f'agentevol_step_seconds_sum{{environment="{name}"}} {self._seconds[name]:.6f}')
            lines.append(f'agentevol_step_seconds_count{{environment="{name}"}} {total}')
        return "\n".join(lines) + "\n"

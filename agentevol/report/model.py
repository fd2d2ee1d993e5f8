"""The report of a run: the table against BC-Base and BC-Large, the paired tests, the costs, the curve over M, and the figures as files.

Invariant: the same input gives the same files; of what it shows, only the seconds differ from one run to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentevol.evaluation.paired_tests import PairedTest
from agentevol.evaluation.scores import OVERALL, Score

BC_BASE, BC_LARGE, RANDOM = "BC-Base", "BC-Large", "random"
Scores = Mapping[str, Score]


def iteration_label(iteration: int) -> str:
    """What the policy of an iteration (from 1) is called."""
    return f"Iteration {iteration}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired test of policy `a` against policy `b` (labels), per environment and overall, as `scoring.paired` gives it."""

    a: str
    b: str
    results: Mapping[str, PairedTest]


@dataclass(frozen=True, slots=True)
class Phase:
    """What a step of the run cost. `tokens`: read and written while playing; `trained_tokens`: those with loss, over all epochs."""

    name: str
    seconds: float
    episodes: int = 0
    tokens: int = 0
    trained_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything that the report is made from.

    `scores`: by policy label, in the order of the table: the random player (where the worlds list their actions), BC-Base, iteration 1 to
    M, and BC-Large where it was trained. `meta`: whatever
    tells this run from another (seed, model, data digests, hardware); JSON values, shown as they are. `remarks`: lines to stand below the
    tables, such as what was left out of learning. `baselines`: the labels of hosted models among the scores, which lie on no curve.
    """

    scores: Mapping[str, Scores]
    comparisons: Sequence[Comparison] = ()
    phases: Sequence[Phase] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    baselines: Sequence[str] = ()

    @property
    def curve(self) -> list[str]:
        """The labels along M: iteration 0 is BC-Base."""
        return [label for label in self.scores if label not in (RANDOM, BC_LARGE, *self.baselines)]

    @property
    def final(self) -> str:
        """The label of the last policy along M."""
        return self.curve[-1]

    @property
    def environments(self) -> list[str]:
        """The environments by name, then "overall"."""
        names = {name for scores in self.scores.values() for name in scores} - {OVERALL}
        return [*sorted(names), OVERALL]

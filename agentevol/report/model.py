"""The input of a run's report: the scores of its policies, the paired tests, and the costs.

Invariant: plain values only; the tables, the plots and the files are made from them in tables.py, plots.py and write.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentevol.data.exploration import ExplorationGroup
from agentevol.evaluation.paired_tests import PairedTest
from agentevol.evaluation.rounds_per_success import RoundsPerSuccess
from agentevol.evaluation.scores import OVERALL, Score

BC_BASE, BC_LARGE, RANDOM, ZERO_SHOT = "BC-Base", "BC-Large", "random", "zero-shot"
Scores = Mapping[str, Score]
OUTPUT_OF_PHASE = {"explore": "explored", "judge": "judged", "learn": "model", "validate": "validated", "evaluate": "played"}
"""The phases that lead to a policy's scores, in order, and what each produces, by its name in run.json."""


def iteration_label(iteration: int) -> str:
    """The label of the policy of an iteration, counted from 1."""
    return f"Iteration {iteration}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paired tests of policy `a` against policy `b` (labels), per environment and overall: `mcnemar_per_environment`."""

    a: str
    b: str
    results: Mapping[str, PairedTest]


@dataclass(frozen=True, slots=True)
class Phase:
    """The cost of a step of the run. `tokens`: prompt and generated tokens of its rollouts; `trained_tokens`: with loss, all epochs."""

    name: str
    seconds: float
    episodes: int = 0
    tokens: int = 0
    trained_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything that the report is made from.

    `scores`: by policy label, in the order of the table: the random baseline (if environments list their actions), the base model
    zero-shot, BC-Base, iterations 1 to M, and BC-Large if it was trained. `validation`: the scores of BC-Base and the iterations on the
    validation split, by label; empty without one. `selected`: the label of the best of them, which is the result of the run; without
    one, the last iteration is. `meta`: what identifies the run (seed, model, data digests, hardware), as JSON values. `remarks`: lines
    below the tables, such as the number of trajectories that were not trained on. `baselines`: the labels of hosted models among the
    scores; they are not part of the curve. `rounds_per_success`: by policy label; empty in a run without several objectives.
    `exploration`: what the exploration of each iteration reached, by label. `verifier`: the quality of the verifier of each iteration
    (VerifierQuality as JSON values), by label and environment; empty without one.
    """

    scores: Mapping[str, Scores]
    comparisons: Sequence[Comparison] = ()
    phases: Sequence[Phase] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    baselines: Sequence[str] = ()
    validation: Mapping[str, Scores] = field(default_factory=dict)
    selected: str = ""
    rounds_per_success: Mapping[str, Mapping[str, RoundsPerSuccess]] = field(default_factory=dict)
    exploration: Mapping[str, Sequence[ExplorationGroup]] = field(default_factory=dict)
    verifier: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def curve(self) -> list[str]:
        """The labels of iterations 0 to M; iteration 0 is BC-Base."""
        return [label for label in self.scores if label not in (RANDOM, ZERO_SHOT, BC_LARGE, *self.baselines)]

    @property
    def final(self) -> str:
        """The label of the policy that is the result of the run: the one selected on the validation split, or the last."""
        return self.selected or self.curve[-1]

    @property
    def environments(self) -> list[str]:
        """The environments in the order of their names, then "overall"."""
        return environment_names(self.scores)


def environment_names(scores: Mapping[str, Scores]) -> list[str]:
    """The environments of the policies' scores in the order of their names, then "overall"."""
    return [*sorted({name for of_policy in scores.values() for name in of_policy} - {OVERALL}), OVERALL]

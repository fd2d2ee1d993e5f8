"""The gate in front of fine-tuning: a training set passes every check or stops the run.

Invariant: a set that fails is never learnt from; the message names the check, the rows, the reason and what to do. The table-shaped
checks are Great Expectations' (gate_table.py), the recorded actions are played again in replay.py. The set passes by once, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.trajectory import Trajectory
from agentevol.gate.expectations import table_findings
from agentevol.gate.finding import Finding
from agentevol.gate.replay import Replays
from agentevol.settings.schema import GateParams
from envs.base import Instruction
from envs.registry import ENVIRONMENTS, environment_class

__all__ = ["Finding", "GateFailed", "GateReport", "check"]


class GateFailed(ValueError):
    """Training data did not pass the gate; the message lists every finding."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate saw: `checks` by name with the number of bad rows, in the order made, and `skipped` with the reason."""

    rows: int
    checks: dict[str, int]
    findings: list[Finding]
    coverage: list[Coverage] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.findings

    def raise_if_failed(self) -> None:
        if self.findings:
            found = "\n".join(f"- {finding}" for finding in self.findings)
            raise GateFailed(f"the gate stopped this training set of {self.rows} trajectories; nothing was learnt from it:\n{found}")

    def markdown(self) -> str:
        """The report as a page: verdict, findings, checks, coverage."""
        verdict = "passed" if self.passed else "**failed**"
        lines = [f"# Gate: {verdict}", "", f"{self.rows} trajectories.", ""]
        lines += [f"- {finding}" for finding in self.findings] + ([""] if self.findings else [])
        lines += ["| check | rows that fail |", "|---|---:|"]
        lines += [f"| {check} | {count} |" for check, count in self.checks.items()]
        lines += [f"| {check} | not checked: {why} |" for check, why in self.skipped.items()]
        if self.coverage:
            lines += ["", "| environment | difficulty | instructions | covered | share |", "|---|---|---:|---:|---:|"]
            lines += [
                f"| {part.env} | {part.difficulty} | {part.instructions} | {part.covered} | {100 * part.share:.0f} % |"
                for part in self.coverage
            ]
        return "\n".join(lines) + "\n"


def check(
    trajectories: Iterable[Trajectory],
    *,
    evaluation: Sequence[Instruction],
    limit: GateParams,
    token_count: Callable[[Trajectory], int] | None = None,
    expert: bool = False,
    required_environments: Sequence[str] = (),
    instructions: Sequence[Instruction] | None = None,
) -> GateReport:
    """Check a training set against the contract of trajectories and against AgentEval.

    `evaluation`: the held-out instructions. `token_count`: the length as the model reads it; without it lengths are not checked.
    `expert`: whether these are expert episodes, which must replay and must reach every one of `required_environments`.
    `instructions`: those the set should cover; by default the whole splits that its rows come from.
    """
    seen = _Seen(Replays(everything=limit.replay == "all") if expert and limit.replay != "none" else None)
    checks, findings = table_findings(seen.watch(trajectories), evaluation, limit.max_tokens, token_count)
    skipped = {} if token_count else {"length": "no tokenizer was given"}
    if seen.replays:
        found = seen.replays.findings()
        checks["replay"] = sum(finding.count for finding in found)
        findings += found
    elif expert:
        skipped["replay"] = "gate.replay is none"
    covered = coverage(seen.item_ids, _intended(seen.splits) if instructions is None else instructions)
    environments = {env for env, _ in seen.splits}
    found = _coverage_findings(environments, covered, limit.min_coverage, required_environments if expert else ())
    checks["coverage"] = len(found)
    return GateReport(seen.rows, checks, findings + found, covered, skipped)


class _Seen:
    """What the checks on the whole set need to know of its rows; of rows of unknown environments only that they are there."""

    def __init__(self, replays: Replays | None) -> None:
        self.replays = replays
        self.rows = 0
        self.item_ids: set[str] = set()
        self.splits: set[tuple[str, str]] = set()

    def watch(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self.rows += 1
            if trajectory.env in ENVIRONMENTS:
                self.item_ids.add(trajectory.item_id)
                self.splits.add((trajectory.env, trajectory.split))
                if self.replays:
                    self.replays.add(trajectory)
            yield trajectory


def _intended(splits: Iterable[tuple[str, str]]) -> list[Instruction]:
    found: dict[str, Instruction] = {}
    for env, split in sorted(splits):
        if split in ("train", "train_large", "explore"):
            found.update((item.item_id, item) for item in environment_class(env).instructions(split))  # type: ignore[arg-type]
    return list(found.values())


def _coverage_findings(present: set[str], covered: Sequence[Coverage], least: float, required: Sequence[str]) -> list[Finding]:
    findings = [
        Finding("coverage", [], 1, f"there is no trajectory of {env}", "collect its expert set, or take it out of `environments`")
        for env in required
        if env not in present
    ]
    remedy = "explore with more samples (evolve.samples), learn longer first, or lower gate.min_coverage"
    return findings + [
        Finding("coverage", [], 1, f"{part.env}, {part.difficulty}: {part.covered} of {part.instructions} covered, below {least:g}", remedy)
        for part in covered
        if part.share < least
    ]

"""The gate in front of fine-tuning: a training set passes every check, or the run stops.

Invariant: no model is trained on a set that fails; the message names the check, the rows, the problem and the remedy. Great Expectations
checks the single rows (expectations.py), replay.py replays expert episodes. The set is read once, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from agentevol.data.coverage import Coverage, coverage
from agentevol.data.trajectory import Trajectory
from agentevol.gate.expectations import table_findings
from agentevol.gate.finding import Finding
from agentevol.gate.replay import ReplayCheck
from agentevol.settings.gate import GateParams
from envs.base import Instruction
from envs.registry import environment_class, is_registered

__all__ = ["Finding", "GateFailed", "GateReport", "check_dataset"]


class GateFailed(ValueError):
    """Training data did not pass the gate; the message lists every finding."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """`checks`: the number of rows that fail each check, by its name, in order; `skipped`: the checks left out, with the reason."""

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
            findings = "\n".join(f"- {finding}" for finding in self.findings)
            raise GateFailed(f"the gate stopped this training set of {self.rows} trajectories; no model was trained on it:\n{findings}")

    def markdown(self) -> str:
        """The report as a Markdown page: verdict, findings, checks, coverage."""
        verdict = "passed" if self.passed else "**failed**"
        lines = [f"# Gate: {verdict}", "", f"{self.rows} trajectories.", ""]
        lines += [f"- {finding}" for finding in self.findings] + ([""] if self.findings else [])
        lines += ["| check | rows that fail |", "|---|---:|"]
        lines += [f"| {check} | {count} |" for check, count in self.checks.items()]
        lines += [f"| {check} | not checked: {reason} |" for check, reason in self.skipped.items()]
        if self.coverage:
            lines += ["", "| environment | difficulty | instructions | covered | share |", "|---|---|---:|---:|---:|"]
            lines += [
                f"| {part.env} | {part.difficulty} | {part.instructions} | {part.covered} | {100 * part.share:.0f} % |"
                for part in self.coverage
            ]
        return "\n".join(lines) + "\n"


def check_dataset(
    trajectories: Iterable[Trajectory],
    *,
    evaluation: Sequence[Instruction],
    settings: GateParams,
    token_count: Callable[[Trajectory], int] | None = None,
    expert: bool = False,
    required_environments: Sequence[str] = (),
    instructions: Sequence[Instruction] | None = None,
    validation: Sequence[Instruction] = (),
    allow_duplicates: bool = False,
) -> GateReport:
    """Check a training set against the schema of trajectories, the environments and AgentEval.

    `evaluation`: the held-out instructions. `token_count`: the number of tokens that the model reads of a trajectory; without it, lengths
    are not checked. `expert`: these are expert episodes, which must replay and must reach every one of `required_environments`.
    `instructions`: those that the set should cover; by default all of the splits that its rows come from. `validation`: the validation
    split, which is held out, too. `allow_duplicates`: the set counts episodes as often as they were sampled (filter.deduplicate: false).
    """
    replays = ReplayCheck(replay_all=settings.replay == "all") if expert and settings.replay != "none" else None
    scan = _DatasetScan(replays)
    checks, findings = table_findings(scan.observe(trajectories), evaluation, settings.max_tokens, token_count, validation)
    skipped = {} if token_count else {"length": "no tokenizer was given"}
    if allow_duplicates:
        checks.pop("duplicates", None)  # there is none for an empty set
        findings = [finding for finding in findings if finding.check != "duplicates"]
        skipped["duplicates"] = "filter.deduplicate is false"
    if replays:
        replay_findings = replays.findings()
        checks["replay"] = sum(finding.count for finding in replay_findings)
        findings += replay_findings
    elif expert:
        skipped["replay"] = "gate.replay is none"
    covered = coverage(scan.item_ids, _training_instructions(scan.splits) if instructions is None else instructions)
    environments = {env for env, _ in scan.splits}
    coverage_findings = _coverage_findings(environments, covered, settings.min_coverage, required_environments if expert else ())
    checks["coverage"] = len(coverage_findings)
    return GateReport(scan.rows, checks, findings + coverage_findings, covered, skipped)


class _DatasetScan:
    """Gathers what the checks on the whole set need, while its rows are read. Rows of unknown environments are only counted."""

    def __init__(self, replays: ReplayCheck | None) -> None:
        self.replays = replays
        self.rows = 0
        self.item_ids: set[str] = set()
        self.splits: set[tuple[str, str]] = set()

    def observe(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self.rows += 1
            if is_registered(trajectory.env):
                self.item_ids.add(trajectory.item_id)
                self.splits.add((trajectory.env, trajectory.split))
                if self.replays:
                    self.replays.add(trajectory)
            yield trajectory


def _training_instructions(splits: Iterable[tuple[str, str]]) -> list[Instruction]:
    """The instructions of these (environment, split) pairs, those for training only."""
    instructions: dict[str, Instruction] = {}
    for env, split in sorted(pair for pair in splits if pair[1] in ("train", "train_large", "explore")):
        instructions.update((item.item_id, item) for item in environment_class(env).instructions(split))  # type: ignore[arg-type]
    return list(instructions.values())


def _coverage_findings(present: set[str], covered: Sequence[Coverage], min_share: float, required: Sequence[str]) -> list[Finding]:
    findings = [
        Finding("coverage", [], 1, f"there is no trajectory of {env}", "collect its expert set, or remove it from `environments`")
        for env in required
        if env not in present
    ]
    remedy = "explore with more samples (evolve.samples), train longer first, or lower gate.min_coverage"
    return findings + [
        Finding(
            "coverage", [], 1, f"{part.env}, {part.difficulty}: {part.covered} of {part.instructions} covered, below {min_share:g}", remedy
        )
        for part in covered
        if part.share < min_share
    ]

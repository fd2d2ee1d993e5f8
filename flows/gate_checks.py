"""The gate of a run: its datasets are checked before a policy learns from them, and the reports are kept.

Invariant: a dataset that does not pass stops the run, and its report says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from envs.registry import environment_class
from flows.datasets import Datasets
from tasks.artifact import Artifact
from tasks.env_versions import env_versions
from tasks.gate import validate

_EXPERT_SETS = {"agenttraj": "AgentTraj", "agenttraj_l": "AgentTraj-L"}


class GateChecks:
    """`tokenizer`: the base model; `chat`: how conversations become tokens; `reports`: is filled with the reports, by dataset."""

    def __init__(self, params: Params, tokenizer: Artifact, chat: Mapping[str, Any], reports: dict[str, str]) -> None:
        self.params, self.tokenizer, self.chat, self.reports = params, tokenizer, chat, reports

    def check_expert_set(self, name: Literal["agenttraj", "agenttraj_l"], datasets: Datasets) -> None:
        """The gate for an expert set. It must cover every instruction of its split, or as many as its limit takes."""
        limits = self.params.data.limits
        data: Artifact = getattr(datasets, name)
        if not data.rows:
            raise SettingsError(
                f"environments: {', '.join(self.params.environments)} given, but none of them has an expert to clone;"
                " allowed: at least one that has an expert; the others can be explored together with it,"
                " and scored by `agentevol evaluate`"
            )
        split, limit = ("train", limits.train) if name == "agenttraj" else ("train_large", limits.train_large)
        expert_limits = {split: limit} if limit else None
        self.check(_EXPERT_SETS[name], data, datasets, expert=True, coverage_sets=[] if limit else None, expert_limits=expert_limits)

    def check(
        self,
        name: str,
        data: Artifact,
        datasets: Datasets,
        *,
        coverage_sets: list[Artifact] | None,
        expert: bool = False,
        expert_limits: dict[str, int] | None = None,
        allow_duplicates: bool = False,
    ) -> None:
        """Pass `data` through the gate and record the gate's report. `datasets`: those of the run, some held out. Raises GateFailed."""
        try:
            result = validate(
                data=data,
                evaluation=datasets.held_out,
                validation=datasets.validation if datasets.validation.rows else None,
                limit=self.params.gate,
                tokenizer=self.tokenizer,
                expert=expert,
                environments=self._environments_with_expert() if expert or expert_limits else [],
                coverage_sets=coverage_sets,
                expert_limits=expert_limits,
                env_versions=env_versions(data, *(coverage_sets or [])),
                allow_duplicates=allow_duplicates or not (expert or self.params.filter.deduplicate),
                **self.chat,
            )
        except Exception as error:
            self.reports[name] = f"# Gate: **stopped the run**\n\n{error}"
            raise
        self.reports[name] = result.facts["markdown"]

    def _environments_with_expert(self) -> list[str]:
        """The paper has no expert trajectories for three environments; they are explored or scored only."""
        return [name for name in self.params.environments if environment_class(name).sizes.agent_traj]

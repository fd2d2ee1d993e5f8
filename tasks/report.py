"""The report of a run in a folder of its own, and `runs/latest` with the latest report and its selected policy, for DVC and for the user.

Invariant: the report is made from the store alone, so it does not depend on how often the run was interrupted. The run's folder is in the
project, next to the store, even if DVC runs it in a temporary copy: it is the record that protects the run's results from `data gc`. DVC's
outputs are in the working directory, where DVC looks for them.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from agentevol.data.artifact_folder import atomic_folder
from agentevol.data.dataset import read_dataset
from agentevol.evaluation.paired_tests import mcnemar_per_environment
from agentevol.evaluation.rounds_per_success import RoundsPerSuccess, rounds_per_success
from agentevol.evaluation.scores import Score
from agentevol.report.model import RANDOM, Comparison, Phase, ReportInput
from agentevol.report.write import write_report
from agentevol.settings.schema import Params
from tasks import paths
from tasks.artifact import Artifact
from tasks.policy_record import PolicyRecord, References

RUNS = Path("runs")
LATEST = RUNS / "latest"
"""With RUNS / DVC_METRICS, the output of DVC's stage: in the working directory."""
DVC_METRICS = "metrics.json"
HOSTED = "baselines.json"
"""The lineage of the hosted models, in the form of run.json."""


@task(version="1", cache_policy=NO_CACHE, persist_result=False)
def report(
    params: Params,
    base: Artifact,
    policies: Sequence[PolicyRecord],
    selected: PolicyRecord,
    name: str,
    references: References,
) -> Path:
    """Write `runs/<name>/`, `runs/latest/` (a copy, with the selected policy and its training data) and DVC's metrics; returns the first,
    relative to the working directory unless that is a temporary copy of the project.

    `policies`: BC-Base and the policies of the iterations. `selected`: the one of them that is the result of the run.
    """
    bc_large, zero_shot, hosted, random = references.bc_large, references.zero_shot, references.hosted, references.random
    own = [*([zero_shot] if zero_shot else []), *policies, *([bc_large] if bc_large else [])]
    everything = [*own, *hosted]
    first, last = policies[0], policies[-1]
    assert selected.training_data is not None
    scores = {RANDOM: _scores(random[1])} if random else {}
    report_input = ReportInput(
        scores=scores | {policy.label: _scores(policy.scores) for policy in everything},
        validation={policy.label: _scores(policy.validation_scores) for policy in policies if policy.validation_scores},
        selected=selected.label if selected.validation_scores else "",
        comparisons=[
            *(_compare_policies(policy, first) for policy in _distinct(selected, last, bc_large) if policy is not first),
            *(_compare_policies(selected, policy) for policy in _distinct(None if selected is first else bc_large, zero_shot, *hosted)),
            *([_compare(selected.label, selected.episodes, RANDOM, random[0])] if random else []),
        ],
        phases=[_phase(policy.label, phase, facts) for policy in everything for phase, facts in policy.phases()],
        meta=_meta(params, base),
        remarks=[line for policy in everything for line in (policy.exclusion_remark(), policy.usage_remark()) if line],
        baselines=[policy.label for policy in hosted],
        verifier={policy.label: policy.judged.facts["quality"] for policy in policies if policy.judged},
        rounds_per_success=_rounds_per_success(everything) if params.filter.objective else {},
        exploration={policy.label: groups for policy in policies if (groups := policy.exploration_groups())},
    )
    folder = paths.relative_to_working_directory(paths.root() / RUNS / name)
    with atomic_folder(folder) as out:
        write_report(out, report_input)
        _write_lineage(out / "run.json", own)
        if hosted:
            _write_lineage(out / HOSTED, hosted)
    with paths.lock("latest"):  # of parallel runs, the last one to finish stays here, complete
        with atomic_folder(LATEST) as out:
            shutil.copytree(folder, out, dirs_exist_ok=True)
            _link(selected.model.folder, out / "model")
            _link(selected.training_data.folder, out / "training-data")
        shutil.copy(folder / DVC_METRICS, RUNS / DVC_METRICS)
    return folder


def machine() -> str:
    """A description of this machine for reports."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _scores(artifact: Artifact) -> dict[str, Score]:
    scores = {}
    for env, facts in artifact.facts.items():
        values: dict[str, Any] = {name: math.nan if value is None else value for name, value in facts.items()}
        scores[env] = Score(**values)
    return scores


def _rounds_per_success(policies: Sequence[PolicyRecord]) -> dict[str, dict[str, RoundsPerSuccess]]:
    return {policy.label: rounds_per_success(read_dataset(policy.episodes.folder)) for policy in policies}


def _distinct(*policies: PolicyRecord | None) -> list[PolicyRecord]:
    return list({policy.label: policy for policy in policies if policy}.values())


def _compare_policies(policy: PolicyRecord, other: PolicyRecord) -> Comparison:
    return _compare(policy.label, policy.episodes, other.label, other.episodes)


def _compare(label: str, episodes: Artifact, other_label: str, other_episodes: Artifact) -> Comparison:
    return Comparison(label, other_label, mcnemar_per_environment(read_dataset(episodes.folder), read_dataset(other_episodes.folder)))


def _phase(label: str, phase: str, facts: dict[str, Any]) -> Phase:
    episodes, tokens = facts.get("episodes", 0), facts.get("tokens", 0) if phase != "learn" else 0
    return Phase(f"{label}: {phase}", facts["seconds"], episodes, tokens, facts.get("trained_tokens", 0))


def _write_lineage(file: Path, policies: Sequence[PolicyRecord]) -> None:
    file.write_text(json.dumps({policy.label: _lineage(policy) for policy in policies}, indent=1) + "\n", encoding="utf-8")


def _lineage(policy: PolicyRecord) -> dict[str, Any]:
    artifacts = {
        "model": policy.model,
        "learnt from": policy.training_data,  # the keys are a file format: committed records use them
        "explored": policy.explored,
        "judged": policy.judged,
        "kept": policy.kept,
        "played": policy.episodes,
        "validated": policy.validation_episodes,
    }
    return {
        name: {"path": artifact.path, "sha256": artifact.digest, "rows": artifact.counts}
        for name, artifact in artifacts.items()
        if artifact
    }


def _meta(params: Params, base: Artifact) -> dict[str, Any]:
    evolve, objective = params.evolve, params.filter.objective_weights
    return {
        "M": evolve.iterations,
        "K": evolve.samples,
        "seed": params.seed,
        "merge": evolve.merge,
        "rule": evolve.rule,
        **({"objective": objective} if objective else {}),
        "model": f"{params.model.base} ({base.digest[:12]})",
        "machine": machine(),
    }


def _link(source_folder: Path, target_folder: Path) -> None:
    """A copy by hard links, if the file system allows them; nothing in the store is ever changed in place."""

    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    shutil.copytree(source_folder, target_folder, copy_function=link)

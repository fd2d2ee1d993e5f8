"""The report of a run, in a folder of its own; and the latest one with its policy, where DVC and a user look for them.

Invariant: it is made from what lies in the store alone, so it is the same however often the run was interrupted.
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
from agentevol.evaluation.scores import Score
from agentevol.report.model import RANDOM, Comparison, Phase, ReportInput
from agentevol.report.write import write_report
from agentevol.settings.schema import Params
from tasks import paths
from tasks.artifact import Artifact
from tasks.policy_record import PolicyRecord

RUNS = Path("runs")
LATEST = RUNS / "latest"
FOR_DVC = "metrics.json"
HOSTED = "baselines.json"
"""The lineage of the hosted models, as run.json has that of the run's own policies."""


@task(version="1", cache_policy=NO_CACHE, persist_result=False)
def report(
    params: Params,
    base: Artifact,
    rounds: Sequence[PolicyRecord],
    large: PolicyRecord | None,
    name: str,
    baselines: Sequence[PolicyRecord] = (),
    by_chance: tuple[Artifact, Artifact] | None = None,
) -> Path:
    """Write `runs/<name>/`, `runs/latest/` (the same with the last policy and what it learnt from) and DVC's metrics; returns the first.

    `by_chance`: the random player's episodes and scores.
    """
    own = [*rounds, *([large] if large else [])]
    everything = [*own, *baselines]
    last = rounds[-1]
    assert last.learnt_from is not None
    scores = {RANDOM: _scores(by_chance[1])} if by_chance else {}
    runs = ReportInput(
        scores=scores | {one.label: _scores(one.scores) for one in everything},
        comparisons=[
            *(_compare_rounds(one, rounds[0]) for one in (last, large) if one is not None and one is not rounds[0]),
            *(_compare_rounds(last, one) for one in baselines),
            *([_compare(last.label, last.episodes, RANDOM, by_chance[0])] if by_chance else []),
        ],
        phases=[_phase(one.label, what, facts) for one in everything for what, facts in one.phases()],
        meta=_meta(params, base),
        remarks=[line for one in everything for line in (one.left_out(), one.billed()) if line],
        baselines=[one.label for one in baselines],
    )
    folder = RUNS / name
    with atomic_folder(folder) as out:
        write_report(out, runs)
        _write_lineage(out / "run.json", own)
        if baselines:
            _write_lineage(out / HOSTED, baselines)
    with paths.lock("latest"):  # runs side by side end with one of them here, whole
        with atomic_folder(LATEST) as out:
            shutil.copytree(folder, out, dirs_exist_ok=True)
            _link(last.model.folder, out / "model")
            _link(last.learnt_from.folder, out / "learnt-from")
        shutil.copy(folder / FOR_DVC, RUNS / FOR_DVC)
    return folder


def _scores(made: Artifact) -> dict[str, Score]:
    scores = {}
    for env, found in made.facts.items():
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in found.items()}
        scores[env] = Score(**known)
    return scores


def _compare_rounds(one: PolicyRecord, other: PolicyRecord) -> Comparison:
    return _compare(one.label, one.episodes, other.label, other.episodes)


def _compare(label: str, episodes: Artifact, other: str, others: Artifact) -> Comparison:
    return Comparison(label, other, mcnemar_per_environment(read_dataset(episodes.folder), read_dataset(others.folder)))


def _phase(label: str, what: str, facts: dict[str, Any]) -> Phase:
    episodes, tokens = facts.get("episodes", 0), facts.get("tokens", 0) if what != "learn" else 0
    return Phase(f"{label}: {what}", facts["seconds"], episodes, tokens, facts.get("trained_tokens", 0))


def _write_lineage(file: Path, rounds: Sequence[PolicyRecord]) -> None:
    file.write_text(json.dumps({one.label: _lineage(one) for one in rounds}, indent=1) + "\n", encoding="utf-8")


def _lineage(one: PolicyRecord) -> dict[str, Any]:
    parts = {"model": one.model, "learnt from": one.learnt_from, "explored": one.explored, "kept": one.kept, "played": one.episodes}
    return {
        what: {"path": artifact.path, "sha256": artifact.digest, "rows": artifact.counts} for what, artifact in parts.items() if artifact
    }


def _meta(params: Params, base: Artifact) -> dict[str, Any]:
    evolve = params.evolve
    return {
        "M": evolve.iterations,
        "K": evolve.samples,
        "seed": params.seed,
        "merge": evolve.merge,
        "rule": evolve.rule,
        "model": f"{params.model.base} ({base.digest[:12]})",
        "machine": machine(),
    }


def machine() -> str:
    """What a report says of where it was made."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _link(folder: Path, to: Path) -> None:
    """A copy that takes no room where the file system allows it; nothing in the store is ever changed in place."""

    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    shutil.copytree(folder, to, copy_function=link)

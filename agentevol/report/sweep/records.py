"""Records: the results of a setting and seed as one small JSON file, to compare runs of several machines and days and to commit them.

Invariant: a report from records shows the same numbers as a report from the runs. The texts of episodes are not in a record, except for
some failures of the last policy. A file that is not a complete record of this schema is refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentevol.data.exploration import ExplorationGroup
from agentevol.data.trajectory import Message, Status, Trajectory
from agentevol.report.sweep.model import SeedResult, Setting, StepCost, Sweep, SweepRun, example_failures
from agentevol.settings.effects import first_difference, with_later_defaults
from agentevol.settings.rules import RULES

SCHEMA = 2
RECORDS_FOLDER = "records"
DATA_PREFIX, ENVIRONMENT_PREFIX, BASE_MODEL = "data: ", "environment: ", "base model"
"""The keys in `Sweep.meta` of the digests of the data, the environments and the base model."""
_STATUS: dict[str, Status] = {"f": "finished", "t": "truncated", "e": "error"}


class RecordError(ValueError):
    """A file that is not a record or has another schema, or records that cannot be compared; the message names the files."""


def write_records(folder: Path, sweep: Sweep) -> list[Path]:
    """Write one file into `folder` for each result of the sweep; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for result in sweep.results:
        file = folder / f"{_file_name(result, sweep)}.json"
        file.write_text(_dump(_record(result, sweep)) + "\n", encoding="utf-8")
        files.append(file)
    return files


def read_records(files: Iterable[Path]) -> Sweep:
    """The results in these records as one sweep.

    Raises RecordError if there are none, if one has another schema, if two have the same setting and seed, or if they differ in more
    than the parameters that a sweep varies.
    """
    records = [(file, _read(file)) for file in sorted({file.resolve(): file for file in files}.values())]
    if not records:
        raise RecordError("no records given; `agentevol sweep` writes them to runs/sweeps/<name>/records")
    file_of: dict[tuple[Setting, int], Path] = {}
    results: list[SeedResult] = []
    runs: list[SweepRun] = []
    for file, record in records:
        result = _result(record)
        if (other := file_of.setdefault((result.setting, result.seed), file)) != file:
            raise RecordError(f"{file} and {other} are both of {result.setting.label([])}, seed {result.seed}; give one of them")
        for earlier_file, earlier in records[: len(results)]:
            _check_same_experiment(earlier_file, earlier, file, record)
        results.append(result)
        runs += _runs(record, result)
    first = records[0][1]
    return Sweep(
        results=results,
        runs=runs,
        random=_episodes("random", first["instructions"], first["random"], {}),
        explored=_explored(first),
        meta=_merge_meta([record["meta"] for _, record in records]),
        parameters=first.get("parameters", {}),
    )


def recorded_parameters(folder: Path) -> dict[str, Any]:
    """The parameters of the first record of a sweep's folder; empty if it has no record. Raises RecordError."""
    files = sorted((folder / RECORDS_FOLDER).glob("*.json"))
    return dict(_read(files[0]).get("parameters", {})) if files else {}


def recorded_runs(folder: Path) -> set[tuple[Setting, int, int]]:
    """(setting, M, seed) of the runs of a sweep's folder, from its records; empty if it has none. Raises RecordError."""
    records = [_read(file) for file in (folder / RECORDS_FOLDER).glob("*.json")]
    return {(Setting(**record["setting"]), run["iterations"], record["seed"]) for record in records for run in record["runs"]}


def _check_same_experiment(file_a: Path, a: Mapping[str, Any], file_b: Path, b: Mapping[str, Any]) -> None:
    ours, theirs = _digests(a), _digests(b)
    different = (f"{key}: {ours[key]} and {theirs[key]}" for key in ours if key in theirs and ours[key] != theirs[key])
    if difference := first_difference(_parameters(a, b), _parameters(b, a)) or next(different, ""):
        raise RecordError(
            f"{file_a} and {file_b} are not of one experiment ({difference}); a difference in success would not be due to M, K or the seed"
        )


def _parameters(record: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The record's parameters that both settings use: a rule's own where both have that rule, the budget where both are adaptive."""
    settings = [record["setting"], other["setting"]]
    unused = {f"{rule}." for rule in RULES if any(setting["rule"] != rule for setting in settings)}
    if any(setting["samples"] != "adaptive" for setting in settings):
        unused.add("evolve.budget")
    return {key: value for key, value in record.get("parameters", {}).items() if not key.startswith(tuple(unused))}


def _digests(record: Mapping[str, Any]) -> dict[str, Any]:
    """The digests of the data, the environments and the base model of the runs."""
    prefixes = (DATA_PREFIX, ENVIRONMENT_PREFIX)
    return {name: value for name, value in record["meta"].items() if name.startswith(prefixes) or name == BASE_MODEL}


def _file_name(result: SeedResult, sweep: Sweep) -> str:
    setting, iterations = result.setting, max(run.iterations for run in _runs_of(result, sweep.runs))
    return f"M{iterations}-K{setting.samples}-{setting.merge}-{setting.start_from}-{setting.rule.replace('_', '-')}-s{result.seed}"


def _runs_of(result: SeedResult, runs: Sequence[SweepRun]) -> list[SweepRun]:
    return [run for run in runs if (run.setting, run.seed) == (result.setting, result.seed)]


def _record(result: SeedResult, sweep: Sweep) -> dict[str, Any]:
    final = result.policies[result.final]
    instructions: defaultdict[str, list[str]] = defaultdict(list)
    for episode in final:
        instructions[episode.env].append(episode.item_id)
    explored: defaultdict[str, list[str]] = defaultdict(list)
    for env, _, item_id in sweep.explored:
        explored[env].append(item_id)
    return {
        "schema": SCHEMA,
        "setting": asdict(result.setting),
        "seed": result.seed,
        "selected": result.selected,
        "meta": dict(sweep.meta),
        "instructions": dict(instructions),
        "explored": dict(explored),
        "parameters": with_later_defaults(sweep.parameters),
        "random": _outcomes(sweep.random, instructions),
        "policies": {label: _outcomes(episodes, instructions) for label, episodes in result.policies.items()},
        "hosted": {label: _outcomes(episodes, instructions) for label, episodes in result.hosted.items()},
        "kept": {label: sorted(ids) for label, ids in result.kept.items()},
        **({"exploration": _explorations(result)} if result.exploration else {}),
        **({"verifier": dict(result.verifier)} if result.verifier else {}),
        "runs": [
            {"iterations": run.iterations, "folder": run.folder, "costs": [asdict(cost) for cost in run.costs]}
            for run in _runs_of(result, sweep.runs)
        ],
        "lineage": dict(result.lineage),
        "texts": {
            result.final: {
                episode.item_id: [[message.role, message.content] for message in episode.messages] for episode in example_failures(final)
            }
        },
    }


def _explorations(result: SeedResult) -> dict[str, list[dict[str, Any]]]:
    return {label: [asdict(group) for group in groups] for label, groups in result.exploration.items()}


def _outcomes(episodes: Sequence[Trajectory], instructions: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Per environment, in the order of its instructions: success and status as one character each, reward and rounds as lists, and progress
    if an episode has one."""
    by_id = {episode.item_id: episode for episode in episodes}
    if len(by_id) < len(episodes):
        raise ValueError("a policy has two episodes on one AgentEval instruction; a record holds one")
    outcomes: dict[str, dict[str, Any]] = {}
    for env, ids in instructions.items():
        in_order = [by_id.get(item_id) for item_id in ids]
        if any(in_order):
            outcomes[env] = {
                "success": "".join("-" if episode is None else "1" if episode.success else "0" for episode in in_order),
                "status": "".join("-" if episode is None else episode.status[0] for episode in in_order),
                "reward": [0 if episode is None else round(episode.reward, 6) for episode in in_order],
                "rounds": [0 if episode is None else episode.rounds for episode in in_order],
            }
            progress = [None if episode is None else episode.progress for episode in in_order]
            if any(value is not None for value in progress):
                outcomes[env]["progress"] = [None if value is None else round(value, 6) for value in progress]
    return outcomes


def _dump(record: Mapping[str, Any]) -> str:
    """The record as JSON with one line per policy, environment and parameter, so that a diff of two records is readable."""
    parts = []
    for name, value in record.items():
        if isinstance(value, dict) and value and name != "setting":
            lines = ",\n".join(f"  {json.dumps(key)}: {_compact(item)}" for key, item in value.items())
            parts.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(name)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{file}: cannot be read as a record of a run ({error})") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise RecordError(f"{file}: expected a record of schema {SCHEMA}, got {schema}; write it again with `agentevol sweep`")
    return dict(record)


def _result(record: Mapping[str, Any]) -> SeedResult:
    instructions, texts = record["instructions"], record["texts"]
    policies, hosted = record["policies"], record.get("hosted", {})
    return SeedResult(
        setting=Setting(**record["setting"]),
        seed=record["seed"],
        policies={label: _episodes(label, instructions, outcomes, texts.get(label, {})) for label, outcomes in policies.items()},
        kept={label: frozenset(ids) for label, ids in record["kept"].items()},
        lineage=record["lineage"],
        hosted={label: _episodes(label, instructions, outcomes, {}) for label, outcomes in hosted.items()},
        selected=record.get("selected", ""),
        exploration={label: [ExplorationGroup(**group) for group in groups] for label, groups in record.get("exploration", {}).items()},
        verifier=record.get("verifier", {}),
    )


def _runs(record: Mapping[str, Any], result: SeedResult) -> list[SweepRun]:
    return [
        SweepRun(result.setting, run["iterations"], result.seed, run["folder"], [StepCost(**cost) for cost in run["costs"]])
        for run in record["runs"]
    ]


def _episodes(
    label: str, instructions: Mapping[str, Sequence[str]], outcomes: Mapping[str, Mapping[str, Any]], texts: Mapping[str, Any]
) -> list[Trajectory]:
    from envs.registry import environment_class

    episodes = []
    for env, columns in outcomes.items():
        ids = instructions[env]
        progress = columns.get("progress", [None] * len(ids))
        rows = zip(ids, columns["success"], columns["status"], columns["reward"], columns["rounds"], progress, strict=True)
        for item_id, success, status, reward, rounds, share in rows:
            if status != "-":
                messages = [Message(role, content) for role, content in texts.get(item_id, ())]
                task_type = environment_class(env).instruction(item_id).task_type
                outcome = {"reward": reward, "success": success == "1", "rounds": rounds, "status": _STATUS[status], "progress": share}
                episodes.append(Trajectory(item_id, env, task_type, "eval", label, "", 0, 0, messages, **outcome))
    return episodes


def _explored(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    from envs.registry import environment_class

    return [
        (env, environment_class(env).instruction(item_id).difficulty, item_id) for env, ids in record["explored"].items() for item_id in ids
    ]


def _merge_meta(metas: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The values of each name, without repetitions, in the order of the records."""
    values: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for meta in metas:
        for name, value in meta.items():
            values[name][str(value)] = None
    return {name: "; ".join(texts) for name, texts in values.items()}

"""A chain as one small JSON file: what a report needs of it, so that runs of several machines and days can be compared, kept and committed.

Invariant: a report made from records shows the figures of one that is made from the runs; of the episodes' texts there are only those of
some failures of the last policy. A record is read whole or refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentevol.data.trajectory import Message, Status, Trajectory
from agentevol.report.sweep.model import Cell, Chain, Cost, Setting, Sweep, failures

SCHEMA = 1
FOLDER = "records"
DATA, WORLD, BASE_MODEL = "data: ", "world: ", "base model"
"""How the digests of the data, the worlds and the base model are called in `Sweep.meta`."""
_STATUS: dict[str, Status] = {"f": "finished", "t": "truncated", "e": "error"}


class NotARecord(ValueError):
    """A file that is no record, or one of another schema, or records that cannot stand beside each other; the message says which."""


def write_records(folder: Path, sweep: Sweep) -> list[Path]:
    """One file for each chain of the sweep, below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chain in sweep.chains:
        file = folder / f"{_name(chain, sweep)}.json"
        record = _record(chain, sweep)
        # A line per policy: what changes between two records can be seen.
        file.write_text(_lines(record) + "\n", encoding="utf-8")
        written.append(file)
    return written


def read_records(files: Iterable[Path]) -> Sweep:
    """The chains of these records as one sweep. Raises NotARecord: nothing there, another schema, the same chain twice, or chains that
    differ in more than a sweep varies."""
    records = [(file, _read(file)) for file in sorted({file.resolve(): file for file in files}.values())]
    if not records:
        raise NotARecord("no records given; `agentevol sweep` writes them below runs/sweeps/<name>/records")
    seen: dict[tuple[Setting, int], Path] = {}
    chains: list[Chain] = []
    cells: list[Cell] = []
    for file, record in records:
        chain = _chain(record)
        if (other := seen.setdefault((chain.setting, chain.seed), file)) != file:
            raise NotARecord(f"{file} and {other} are both {chain.setting.told([])}, seed {chain.seed}; give one of them")
        for earlier_file, earlier in records[: len(chains)]:
            _refuse_another_experiment(earlier_file, earlier, file, record)
        chains.append(chain)
        cells += _cells(record, chain)
    first = records[0][1]
    return Sweep(
        chains=chains,
        cells=cells,
        random=_episodes("random", first["instructions"], first["random"], {}),
        explored=_explored(first),
        meta=_merged([record["meta"] for _, record in records]),
        parameters=first.get("parameters", {}),
    )


def parameters_there(folder: Path) -> dict[str, Any]:
    """The parameters of the first record below `folder`; none where there is no record."""
    files = sorted((folder / FOLDER).glob("*.json"))
    return dict(_read(files[0]).get("parameters", {})) if files else {}


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first parameter in which they differ, with both values; empty where there is none, or where one of them says nothing."""
    if not one or not other:
        return ""
    for key in dict.fromkeys([*one, *other]):
        if key in one and key in other and one[key] != other[key]:
            return f"{key}: {one.get(key)} and {other.get(key)}"
    return ""


def _refuse_another_experiment(first: Path, one: Mapping[str, Any], file: Path, record: Mapping[str, Any]) -> None:
    found = difference(one.get("parameters", {}), record.get("parameters", {})) or difference(_content(one), _content(record))
    if found:
        raise NotARecord(f"{first} and {file} are not of one experiment ({found}); what they gained would not be due to M, K or the seed")


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    """The digests of what the runs began with, and of the worlds that they were played in."""
    return {name: value for name, value in record["meta"].items() if name.startswith((DATA, WORLD)) or name == BASE_MODEL}


def _name(chain: Chain, sweep: Sweep) -> str:
    setting, most = chain.setting, max(cell.iterations for cell in _of(chain, sweep.cells))
    return f"M{most}-K{setting.samples}-{setting.merge}-{setting.start_from}-{setting.rule.replace('_', '-')}-s{chain.seed}"


def _of(chain: Chain, cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if (cell.setting, cell.seed) == (chain.setting, chain.seed)]


def _record(chain: Chain, sweep: Sweep) -> dict[str, Any]:
    instructions: defaultdict[str, list[str]] = defaultdict(list)
    for episode in chain.policies[chain.final]:
        instructions[episode.env].append(episode.item_id)
    explored: defaultdict[str, list[str]] = defaultdict(list)
    for env, _, item_id in sweep.explored:
        explored[env].append(item_id)
    return {
        "schema": SCHEMA,
        "setting": asdict(chain.setting),
        "seed": chain.seed,
        "meta": dict(sweep.meta),
        "instructions": dict(instructions),
        "explored": dict(explored),
        "parameters": dict(sweep.parameters),
        "random": _figures(sweep.random, instructions),
        "policies": {label: _figures(episodes, instructions) for label, episodes in chain.policies.items()},
        "hosted": {label: _figures(episodes, instructions) for label, episodes in chain.hosted.items()},
        "kept": {label: sorted(ids) for label, ids in chain.kept.items()},
        "cells": [
            {"iterations": cell.iterations, "folder": cell.folder, "costs": [asdict(cost) for cost in cell.costs]}
            for cell in _of(chain, sweep.cells)
        ],
        "lineage": dict(chain.lineage),
        "texts": {
            chain.final: {
                one.item_id: [[message.role, message.content] for message in one.messages] for one in failures(chain.policies[chain.final])
            }
        },
    }


def _figures(episodes: Sequence[Trajectory], instructions: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Per environment, in the order of its instructions: success and status as a letter each, reward and rounds as lists."""
    by_id = {episode.item_id: episode for episode in episodes}
    if len(by_id) < len(episodes):
        raise ValueError("a policy played an AgentEval instruction twice; a record holds one episode of each")
    found: dict[str, dict[str, Any]] = {}
    for env, ids in instructions.items():
        played = [by_id.get(item_id) for item_id in ids]
        if any(played):
            found[env] = {
                "success": "".join("-" if one is None else "1" if one.success else "0" for one in played),
                "status": "".join("-" if one is None else one.status[0] for one in played),
                "reward": [0 if one is None else round(one.reward, 6) for one in played],
                "rounds": [0 if one is None else one.rounds for one in played],
            }
    return found


def _lines(record: Mapping[str, Any]) -> str:
    parts = []
    for name, value in record.items():
        if isinstance(value, dict) and value and name != "setting":
            inner = ",\n".join(f"  {json.dumps(key)}: {_compact(part)}" for key, part in value.items())
            parts.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
        else:
            parts.append(f" {json.dumps(name)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotARecord(f"{file}: cannot be read as a record of a run ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise NotARecord(f"{file}: a record of schema {SCHEMA} was expected, {found} found; make it again with `agentevol sweep`")
    return record


def _chain(record: Mapping[str, Any]) -> Chain:
    texts = record["texts"]
    return Chain(
        setting=Setting(**record["setting"]),
        seed=record["seed"],
        policies={
            label: _episodes(label, record["instructions"], figures, texts.get(label, {})) for label, figures in record["policies"].items()
        },
        kept={label: frozenset(ids) for label, ids in record["kept"].items()},
        lineage=record["lineage"],
        hosted={label: _episodes(label, record["instructions"], figures, {}) for label, figures in record.get("hosted", {}).items()},
    )


def _cells(record: Mapping[str, Any], chain: Chain) -> list[Cell]:
    return [
        Cell(chain.setting, cell["iterations"], chain.seed, cell["folder"], [Cost(**cost) for cost in cell["costs"]])
        for cell in record["cells"]
    ]


def _episodes(
    label: str, instructions: Mapping[str, Sequence[str]], figures: Mapping[str, Mapping[str, Any]], texts: Mapping[str, Any]
) -> list[Trajectory]:
    from envs.registry import environment_class

    played = []
    for env, found in figures.items():
        columns = zip(instructions[env], found["success"], found["status"], found["reward"], found["rounds"], strict=True)
        for item_id, success, status, reward, rounds in columns:
            if status != "-":
                messages = [Message(role, content) for role, content in texts.get(item_id, ())]
                task_type = environment_class(env).instruction(item_id).task_type
                ended = {"reward": reward, "success": success == "1", "rounds": rounds, "status": _STATUS[status]}
                played.append(Trajectory(item_id, env, task_type, "eval", label, "", 0, 0, messages, **ended))
    return played


def _explored(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    from envs.registry import environment_class

    return [
        (env, environment_class(env).instruction(item_id).difficulty, item_id) for env, ids in record["explored"].items() for item_id in ids
    ]


def _merged(metas: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What all say alike, once; what differs (machines, commits), in the order met."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for meta in metas:
        for name, value in meta.items():
            found[name][str(value)] = None
    return {name: "; ".join(values) for name, values in found.items()}

"""How behavioural cloning is trained best: `python -m benchmarks.tuning [CANDIDATE ...] [--seed N ...]`.

Each candidate changes one thing in params.yaml, learns from AgentTraj and plays training instructions that it does not learn from. Nothing
is played on AgentEval. `agentevol collect` must have made the data. Records are in docs/results/tuning/outcomes, one for each candidate and
seed. A finished one is not run again, an interrupted training continues, and results.md is written again after each. For two cores, run
two commands with different seeds. A candidate takes six to ten minutes on a slow core.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import digest_json
from agentevol.data.dataset import read_dataset, read_instruction_list
from agentevol.data.subset import first_instructions
from agentevol.data.trajectory import Message, Trajectory, content_digest
from agentevol.data.validation import VALIDATION, validation_instructions
from agentevol.evaluation.clusters import compare_over_seeds, score_over_seeds
from agentevol.evaluation.scores import OVERALL
from agentevol.models import model_digest
from agentevol.pretraining import lucky_play
from agentevol.report.formatting import format_interval_points, format_p_value, format_points, format_rate
from agentevol.report.sweep.model import format_seeds
from agentevol.rollout.rollout import roll_out
from agentevol.settings.effects import key_values
from agentevol.settings.load import load_params
from agentevol.settings.schema import Params
from agentevol.settings.types import schedule_value
from agentevol.training.finetune import finetune
from benchmarks.meter import table
from benchmarks.results import machine
from envs.base import Instruction

PARAMS, RESULTS, WORK = Path("params.yaml"), Path("docs") / "results" / "tuning", Path("runs") / "tuning"
SIZES = {"babyai": 150, "maze": 60, "textcraft": 150, "wordle": 60}
"""Instructions per environment, about in the proportions of AgentEval; 60 is what MAZE and Wordle have to spare."""
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What differs from params.yaml.

    `overrides`: parameters, as for `-S`. `lucky_play`: this many episodes of lucky play for each environment, beside the expert's.
    `learns`: False for the base model itself.
    """

    overrides: tuple[str, ...] = ()
    lucky_play: int = 0
    learns: bool = True


CANDIDATES = {
    DEFAULT: Candidate(),
    "zero-shot": Candidate(learns=False),
    "context of 2,048 tokens when playing": Candidate(("rollout.context_length=2048",)),
    "learning rate 3e-3": Candidate(("finetune.learning_rate=0.003",)),
    "learning rate 7.5e-4": Candidate(("finetune.learning_rate=0.00075",)),
    "2,048 tokens per update": Candidate(("finetune.batch_tokens=2048",)),
    "8,192 tokens per update, learning rate 3e-3": Candidate(("finetune.batch_tokens=8192", "finetune.learning_rate=0.003")),
    "80 episodes of lucky play per environment": Candidate(lucky_play=80),
    "240 episodes of lucky play per environment, 4 epochs": Candidate(("finetune.epochs=4",), lucky_play=240),
    "LoRA of rank 32, learning rate 5e-3": Candidate(("finetune.lora_rank=32", "finetune.learning_rate=0.005")),
    "all trajectories count the same": Candidate(("finetune.loss_aggregation=sequence_mean",)),
    "weight decay 0.1": Candidate(("finetune.weight_decay=0.1",)),
}


def measure(folder: Path, name: str, seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, Any]:
    """Train and score a candidate in the project's folder; returns its record."""
    candidate = CANDIDATES[name]
    params = load_params(folder / PARAMS, candidate.overrides)
    default = load_params(folder / PARAMS)
    expert = first_instructions(read_dataset(folder / params.data.folder / "agenttraj"), params.environments, params.data.limits.train)
    base = folder / params.model.base
    experiment = [model_digest(base), content_digest(expert)]
    instructions = validation(folder, params, {row.item_id for row in expert}, sizes)
    policy, facts = base, {"steps": 0, "seconds": 0.0}
    if candidate.learns:
        policy = folder / WORK / digest_json([*experiment, key_values(params.finetune), candidate.lucky_play, seed])[:16]
        data = [*expert, *lucky_trajectories(params.environments, candidate.lucky_play, seed)]
        facts = train(base, data, policy, params, seed, folder / WORK / "work")
    started = time.perf_counter()
    played = roll_out(policy, instructions, split=VALIDATION, settings=params.rollout.model_copy(update={"num_workers": 1}))
    outcomes: dict[str, dict[str, bool | None]] = {}
    for episode in played:
        outcomes.setdefault(episode.env, {})[episode.item_id] = None if episode.status == "error" else episode.success
    return {
        "candidate": name,
        "seed": seed,
        "overrides": list(candidate.overrides),
        "lucky_play": candidate.lucky_play,
        "experiment": digest_json(
            [*experiment, key_values(default.finetune), key_values(default.rollout), [item.item_id for item in instructions]]
        ),
        "machine": machine(),
        "updates": facts["steps"],
        "training_seconds": round(facts["seconds"]),
        "rollout_seconds": round(time.perf_counter() - started),
        "success": outcomes,
    }


def train(base: Path, data: Sequence[Trajectory], policy: Path, params: Params, seed: int, work: Path) -> dict[str, Any]:
    """Train `policy`, or find it trained; returns what `finetune` reports. Candidates that only play differently share a policy."""
    facts_file = policy.with_suffix(".json")
    if not facts_file.is_file():
        epochs = schedule_value(params.finetune.epochs, 0)
        facts = finetune(base, data, policy, settings=params.finetune, seed=seed, epochs=epochs, work_dir=work)
        facts_file.write_text(json.dumps(facts), encoding="utf-8")
    return dict(json.loads(facts_file.read_text(encoding="utf-8")))


def validation(folder: Path, params: Params, used_ids: set[str], sizes: Mapping[str, int]) -> list[Instruction]:
    """The instructions to play: of no trajectory that is learned from, and not in AgentEval, nor with the text of one of those."""
    data = folder / params.data.folder
    candidates, held_out = read_instruction_list(data / "explore"), read_instruction_list(data / "agenteval")
    free = validation_instructions(candidates, params.environments, None, used_ids=used_ids, held_out=held_out)
    return [row for env in params.environments for row in [item for item in free if item.env == env][: sizes[env]]]


def lucky_trajectories(environments: Iterable[str], count: int, seed: int) -> list[Trajectory]:
    """`count` episodes of lucky play in each environment, in the form of an expert's; their problems are those of no instruction."""
    rng, rows = random.Random(f"tuning:{seed}"), list[Trajectory]()
    for env in environments:
        kept: list[list[Message]] = []
        while len(kept) < count:
            messages = lucky_play.episode(rng, env)
            kept += [messages] if messages else []
        for number, messages in enumerate(kept):
            answers = sum(message.role == "assistant" for message in messages)
            rows.append(_trajectory(f"lucky-{env}-{number}", env, "luck", messages=messages, reward=1.0, success=True, rounds=answers))
    return rows


def episodes(record: Mapping[str, Any]) -> list[Trajectory]:
    """The outcomes of a record, as episodes without texts."""
    return [
        _trajectory(item_id, env, record["candidate"], success=bool(won), status="error" if won is None else "finished")
        for env, outcomes in record["success"].items()
        for item_id, won in outcomes.items()
    ]


def _trajectory(item_id: str, env: str, policy: str, **fields: Any) -> Trajectory:
    empty = {
        "task_type": "",
        "split": VALIDATION,
        "policy_hash": "",
        "iteration": 0,
        "sample": 0,
        "messages": [],
        "reward": 0.0,
        "rounds": 0,
    }
    return Trajectory(item_id=item_id, env=env, policy=policy, **{**empty, "status": "finished", **fields})


def report(records: Sequence[Mapping[str, Any]]) -> str:
    """results.md: every candidate's success, and its pairs with the default on common seeds.

    Raises ValueError if the records are not of the same base model, data, default parameters and instructions.
    """
    if len({record["experiment"] for record in records}) > 1:
        raise ValueError("the records are of different base models, data or parameters; remove those that are out of date")
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(record["candidate"], {})[record["seed"]] = record
    ordered = {name: dict(sorted(found[name].items())) for name in CANDIDATES if name in found}
    first = next(iter(next(iter(ordered.values())).values()))
    environments = list(first["success"])
    rows = [_row(name, of_seeds, ordered.get(DEFAULT, {}), environments) for name, of_seeds in ordered.items()]
    header = ["candidate", "seeds", "updates", OVERALL, *environments, "against the default [95 %]", "gained/lost", "p", "training"]
    counts = ", ".join(f"{env} {len(outcomes)}" for env, outcomes in first["success"].items())
    machines = dict.fromkeys(record["machine"].partition(",")[0] for of_seeds in ordered.values() for record in of_seeds.values())
    words = (
        "Written by `python -m benchmarks.tuning` from outcomes/. Behavioural cloning with one change each, scored on training instructions"
        f" that it does not learn from ({counts}), never on AgentEval. Success in %, greedy. Pairs are on the same instructions and"
        " seeds; p by exact sign flips over the instructions, not corrected for the number of candidates. Training is seconds on one core,"
        f" the mean of the seeds ({', '.join(machines)}; other work ran on the other core)."
    )
    return "\n\n".join(["# Tuning behavioural cloning", words, table(header, rows)]) + "\n"


def _row(
    name: str, of_seeds: Mapping[int, Mapping[str, Any]], defaults: Mapping[int, Mapping[str, Any]], environments: Sequence[str]
) -> list[str]:
    played = {seed: episodes(record) for seed, record in of_seeds.items()}
    scores = score_over_seeds(list(played.values()))
    updates, seconds = ([record[key] for record in of_seeds.values()] for key in ("updates", "training_seconds"))
    row = [name, format_seeds(played), "/".join(dict.fromkeys(map(str, updates))), format_rate(scores[OVERALL])]
    row += [f"{100 * scores[env].success:.1f}" for env in environments]
    pairs = [(played[seed], episodes(defaults[seed])) for seed in played if seed in defaults]
    if name == DEFAULT or not pairs:
        return [*row, "", "", "", f"{sum(seconds) / len(seconds):.0f} s"]
    test = compare_over_seeds(pairs)[OVERALL]
    row += [f"{format_points(test)} {format_interval_points(test)}", f"{test.only_a}/{test.only_b}", format_p_value(test.p_value)]
    return [*row, f"{sum(seconds) / len(seconds):.0f} s"]


def write_report(results: Path) -> None:
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((results / "outcomes").glob("*.json"))]
    (results / "results.md").write_text(report(records), encoding="utf-8")


def record_file(results: Path, name: str, seed: int) -> Path:
    words = "".join(letter if letter.isalnum() else " " for letter in name.replace(",", "").lower()).split()
    return results / "outcomes" / f"{'-'.join(words)}-s{seed}.json"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="*", metavar="CANDIDATE", help=f"by default all: {'; '.join(CANDIDATES)}")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    if unknown := set(options.candidates) - set(CANDIDATES):
        parser.error(f"no such candidate: {', '.join(sorted(unknown))}; the candidates are {'; '.join(CANDIDATES)}")
    for seed in options.seed:
        for name in options.candidates or CANDIDATES:
            file = record_file(RESULTS, name, seed)
            if not file.is_file():
                record = measure(Path(), name, seed)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(record) + "\n", encoding="utf-8")
                write_report(RESULTS)
            print(f"{name}, seed {seed}: {file}", flush=True)


if __name__ == "__main__":
    main()

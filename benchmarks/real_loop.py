"""The loop of the paper on a pretrained model, without the pipeline around it: zero-shot, behavioural cloning, one iteration.

Used by `python -m benchmarks.real_model` and `python -m benchmarks.gpu`. Every step that is finished is on disk and is not done again: a
stopped run continues where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import is_complete
from agentevol.data.dataset import read_dataset, write_dataset
from agentevol.data.experts import play_expert
from agentevol.data.filtering import filter_by_reward
from agentevol.data.merging import merge
from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.paired_tests import mcnemar
from agentevol.evaluation.scores import score
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.rollout import RolloutParams
from agentevol.training.finetune import finetune
from envs.base import Instruction
from envs.registry import environment_class


@dataclass(frozen=True, slots=True)
class Sizes:
    """Instructions per environment, and the settings of playing and training."""

    environments: Sequence[str]
    train: int
    explore: int
    evaluate: int
    rollout: RolloutParams
    finetune: FinetuneParams
    epochs: float
    temperature: float = 0.7


def run(model: Path, folder: Path, sizes: Sizes, report: Callable[[dict[str, Any]], None]) -> None:
    """Play and train in `folder`; `report` gets one line of JSON values for every step, at once for those done earlier."""

    def items(split: Any, count: int) -> list[Instruction]:
        return [item for name in sizes.environments for item in environment_class(name).instructions(split)[:count]]

    def played(name: str, policy: Path, instructions: list[Instruction], sampling: Sampling, split: str) -> list[Trajectory]:
        return _dataset(
            folder / name,
            lambda: roll_out(policy, instructions, sampling=sampling, split=split, policy=name, settings=sizes.rollout),
            report,
        )

    def trained(name: str, data: list[Trajectory]) -> Path:
        return _model(folder / name, lambda out: finetune(model, data, out, settings=sizes.finetune, seed=0, epochs=sizes.epochs), report)

    benchmark, greedy = items("eval", sizes.evaluate), Sampling()
    scores = {"zero-shot": played("zero-shot", model, benchmark, greedy, "eval")}
    _report_scores("zero-shot", scores, None, report)
    expert = _dataset(folder / "expert", lambda: [play_expert(item.env, item) for item in items("train", sizes.train)], report)
    policy = trained("bc-model", expert)
    scores["BC"] = played("bc", policy, benchmark, greedy, "eval")
    _report_scores("BC", scores, "zero-shot", report)
    explored = played(
        "explored", policy, items("explore", sizes.explore), Sampling(temperature=sizes.temperature, seed=0, iteration=1), "explore"
    )
    kept, filtered = filter_by_reward(explored)
    merged, _ = merge(expert, [kept], "initial")
    report({"step": "filter", "episodes": filtered.episodes, "kept": filtered.kept, "rows": len(merged)})
    policy = trained("iteration-1-model", merged)
    scores["iteration 1"] = played("iteration-1", policy, benchmark, greedy, "eval")
    _report_scores("iteration 1", scores, "BC", report)


def _dataset(folder: Path, play: Callable[[], list[Trajectory]], report: Callable[[dict[str, Any]], None]) -> list[Trajectory]:
    facts_file = folder.with_name(f"{folder.name}.json")
    if not (is_complete(folder) and facts_file.is_file()):
        start = time.perf_counter()
        rows = play()
        seconds = time.perf_counter() - start
        write_dataset(folder, rows, {"made by": "benchmarks.real_loop"})
        tokens = sum(sum(row.loss_mask or []) for row in rows)
        facts_file.write_text(
            json.dumps({"seconds": round(seconds, 1), "episodes": len(rows), "sampled tokens/s": round(tokens / seconds, 1)})
        )
    report({"step": folder.name, **json.loads(facts_file.read_text())})
    return read_dataset(folder)


def _model(folder: Path, train: Callable[[Path], dict[str, Any]], report: Callable[[dict[str, Any]], None]) -> Path:
    """The facts are written last: without them the model is trained again."""
    facts_file = folder.with_name(f"{folder.name}.json")
    if not facts_file.is_file():
        facts = train(folder)
        kept = {name: facts[name] for name in ("seconds", "steps", "sequences", "tokens", "precision", "packed")}
        facts_file.write_text(json.dumps({**kept, "loss": facts["loss"][-1][1], "too long": len(facts["too_long"])}))
    report({"step": folder.name, **json.loads(facts_file.read_text())})
    return folder


def _report_scores(name: str, scores: dict[str, list[Trajectory]], before: str | None, report: Callable[[dict[str, Any]], None]) -> None:
    """Success rates with n and 95 % intervals; the exact McNemar test against the policy before."""
    line: dict[str, Any] = {"step": f"score {name}"}
    for env, result in score(scores[name]).items():
        interval = f"[{100 * result.success_low:.0f}, {100 * result.success_high:.0f}]"
        line[env] = f"{100 * result.success:.1f} % {interval}, n = {result.n}" + (f", {result.errors} errors" if result.errors else "")
    if before is not None:
        test = mcnemar(scores[name], scores[before])
        line[f"against {before}"] = f"gained {test.only_a}, lost {test.only_b} of {test.n}, p = {test.p_value:.2g}"
    report(line)

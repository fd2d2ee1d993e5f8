"""The base model's card (README.md), made from the record that pretraining writes.

Invariant: the card depends only on the record and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentevol.pretraining import deduction, documents, exercises, induction, lucky_play
from agentevol.settings.pretrain import PretrainParams

RECORD = "pretraining.json"
_MAX_ROWS = 12


def render(record: Mapping[str, Any], settings: PretrainParams) -> str:
    """The card as Markdown. `record`: what `pretrain` returns; `zero_shot` in it, if present, holds scores per environment."""
    kinds = ", ".join(f"{kind.__name__} ({weight})" for kind, weight in exercises.EXERCISES.items())
    deductions = ", ".join(f"{kind.__name__} ({weight})" for kind, weight in deduction.EXERCISES.items())
    shares = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in documents.SHARES.items())
    lucky = ", ".join(f"{name} ({weight})" for name, weight in lucky_play.WEIGHTS.items())
    alphabets = ", ".join(map(str, induction.ALPHABETS))
    return f"""---
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# AgentEvol's base model

A Llama of {record["parameters"]:,} parameters: {settings.num_layers} layers of width {settings.hidden_size},
{settings.num_heads} query heads of width 64 with {settings.num_key_value_heads} key-value heads,
a vocabulary of {settings.vocab_size} tokens. Behavioural cloning starts from it.

## Training data

- **Copying**: repeated random tokens.
- **Exercises**: questions about invented lists, views and words. The answer is in the text, or follows from it ("What is missing for
  this item?", "Which word can it be?").
- **Random play**: episodes with random actions.
- **Lucky play**: random play that happened to reach its goal, shortened to the actions that mattered. In ALFWorld, TextCraft and WebShop,
  the goal is chosen afterwards, among the results that were reached by chance. The thoughts are also added afterwards: they describe the
  state and the purpose of the next action.

The data contains no expert episodes. It contains no instruction of AgentTraj, of exploration or of AgentEval, by id or by text: TextCraft
has invented recipes, MAZE random mazes, Wordle invented words, WebShop other products, BabyAI and ALFWorld other numbers. Many exercises
and thoughts use the wording of the experts' thoughts ("I see grey key 1. I go to it.", "pattern _ a _ e _"), so the model knows how the
experts write.

`make base-model` trains such a model from a seed; nothing is downloaded.

## Training

1. Induction: random tokens with repeated chunks, in sequences of {induction.LENGTHS[0]} to {induction.LENGTHS[-1]} tokens;
   training moves on to the next length once the model predicts the repeats. The rows alternate between alphabets of {alphabets} and all
   tokens.
2. Reading: {shares}. Exercises by kind and weight: {kinds}; deduction: {deductions}. Lucky play by environment and weight: {lucky}.
   A batch of induction follows every tenth batch. {record["tokens"]:,} tokens (padding included) in batches of {settings.batch_tokens:,},
   AdamW, peak learning rate {settings.learning_rate:g}, linear decay, {record["precision"]}.

{_earlier(record)}Seed {settings.seed}. SHA-256 of the reading batches: `{record["data_sha256"]}`.
Time: {record["seconds"] / 60:.0f} minutes on {record["hardware"]}.

{_zero_shot(record)}## Loss (nats per trained token)

| induction: step | length | loss | | reading: step | loss |
|---|---|---|---|---|---|
{_table_rows(_thinned(record["induction"]), _thinned(record["reading"]))}

The complete curves are in `pretraining.json`.
"""


def add_scores(folder: Path, settings: PretrainParams, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the scores per environment of the model in `folder` into its record and its card."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    record["zero_shot"] = {name: {key: score[key] for key in ("successes", "n")} for name, score in scores.items() if score["n"]}
    write(folder, record, settings)


def write(folder: Path, record: Mapping[str, Any], settings: PretrainParams) -> None:
    """Write the record and the card of the model in `folder`."""
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(render(record, settings), encoding="utf-8")


def _earlier(record: Mapping[str, Any]) -> str:
    """The pretraining that this one continues."""
    if not record["earlier"]:
        return ""
    rows = "\n".join(
        f"| {run['tokens'] / 1e6:,.0f} million | {run['seconds'] / 60:.0f} minutes | {run.get('hardware', '')} | {run.get('note', '')} |"
        for run in record["earlier"]
    )
    return f"It continues these, in this order:\n\n| tokens | time | hardware | |\n|---|---|---|---|\n{rows}\n\n"


def _zero_shot(record: Mapping[str, Any]) -> str:
    if not record.get("zero_shot"):
        return ""
    rows = "\n".join(
        f"| {name} | {100 * score['successes'] / score['n']:.1f} % | {score['successes']} of {score['n']} |"
        for name, score in record["zero_shot"].items()
    )
    return f"## Without any fine-tuning\n\nSuccess on AgentEval, greedy:\n\n| environment | success | |\n|---|---|---|\n{rows}\n\n"


def _thinned(curve: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """About `_MAX_ROWS` points of the curve, at even intervals, and its last one."""
    interval = max(1, -(-len(curve) // _MAX_ROWS))
    return [*curve[::interval], *([curve[-1]] if curve and (len(curve) - 1) % interval else [])]


def _table_rows(induction_curve: list[Sequence[float]], reading_curve: list[Sequence[float]]) -> str:
    rows = []
    for index in range(max(len(induction_curve), len(reading_curve))):
        left = [f"{value:g}" for value in induction_curve[index]] if index < len(induction_curve) else [""] * 3
        right = [f"{value:g}" for value in reading_curve[index]] if index < len(reading_curve) else [""] * 2
        rows.append("| " + " | ".join([*left, "", *right]) + " |")
    return "\n".join(rows)

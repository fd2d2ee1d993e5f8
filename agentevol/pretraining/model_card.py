"""The base model's card (README.md), made from the record that pretraining writes.

Invariant: the card depends only on the record and the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.pretraining import exercises, induction
from agentevol.settings.pretrain import PretrainParams

_MAX_ROWS = 12


def render(record: Mapping[str, Any], settings: PretrainParams) -> str:
    """The card as Markdown. `record`: what `pretrain` returns."""
    kinds = ", ".join(f"{kind.__name__} ({weight})" for kind, weight in exercises.EXERCISES.items())
    alphabets = ", ".join(map(str, induction.ALPHABETS))
    return f"""---
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# AgentEvol's base model

A Llama of {record["parameters"]:,} parameters: {settings.num_layers} layers of width {settings.hidden_size},
{settings.num_heads} query heads of width 64 with {settings.num_key_value_heads} key-value heads, {settings.vocab_size} tokens.
It can copy from its context, read lists and descriptions, and knows the form of the text in text environments. Behavioural cloning
starts from it. It has seen neither goals nor expert trajectories. Some exercises use the wording of the experts' thoughts
("I see grey key 1.", "pattern _ a _ e _"): they teach to read the state, not what to do.

`make base-model` makes it again from the seed; nothing is downloaded.

## How it was made

1. Induction: random tokens in which chunks are repeated, in sequences of {induction.LENGTHS[0]} to {induction.LENGTHS[-1]} tokens;
   the next length follows once the model predicts the repeats. The rows alternate between alphabets of {alphabets} and all of the tokens.
2. Reading: exercises with a question and an answer from the text, over invented names and letters (kinds and weights: {kinds});
   every third document is random play on problems that no instruction uses; induction after every tenth batch.
   {record["tokens"]:,} tokens in batches of {settings.batch_tokens:,}, AdamW, peak learning rate
   {settings.learning_rate:g}, linear decay, {settings.precision}.

Seed {settings.seed}. SHA-256 of the reading batches: `{record["data_sha256"]}`. Time: {record["seconds"]:.0f} s.

## Loss (nats per trained token)

| induction: step | length | loss | | reading: step | loss |
|---|---|---|---|---|---|
{_table_rows(_thinned(record["induction"]), _thinned(record["reading"]))}

The complete curves are in `pretraining.json`.
"""


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

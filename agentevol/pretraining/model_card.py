"""The base model's card, written beside its weights from the record of its making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentevol.pretraining import exercises, induction
from agentevol.settings.pretrain import PretrainParams


def write(record: Mapping[str, Any], settings: PretrainParams, note: str = "") -> str:
    """Markdown. `record` as `pretrain` returns it; `note`: what else there is to say of this one's making."""
    shape = f"{settings.num_layers} layers of width {settings.hidden_size}, {settings.num_heads} heads of width 64 that share {settings.num_key_value_heads} of"  # noqa: E501
    shape += f" keys and values, {settings.vocab_size} tokens"
    kinds = ", ".join(f"{kind.__name__} ({share})" for kind, share in exercises.ALL.items())
    lengths = f"{induction.LENGTHS[0]} to {induction.LENGTHS[-1]}"
    alphabets = ", ".join(map(str, induction.ALPHABETS))
    return f"""---
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# AgentEvol's base model

A Llama of {record["parameters"]:,} parameters ({shape}) that can copy from its context, read
lists and views, and knows how text worlds
speak. It is what behavioural cloning starts from. It has seen no goal pursued and no expert play. Some exercises are worded as the
experts' thoughts are ("I see grey key 1.", "pattern _ a _ e _"): they teach to read off how things stand, not what to do.

`make base-model` makes it again from the seed; nothing is downloaded.

## How it was made

1. Copying: random tokens in which chunks come back, {lengths} tokens long; the next length follows when the repeats are predicted.
   The rows are in turn over {alphabets} and all of the tokens.
2. Reading: exercises with a question and an answer that stands in the text, over invented names and letters (kinds and shares:
   {kinds}); random play in worlds that no instruction uses, every third document; copying, every tenth batch.
   {record["tokens"]:,} tokens in batches of {settings.batch_tokens:,}, AdamW, peak rate {settings.learning_rate:g}, linear decay,
   {settings.precision}.

Seed {settings.seed}. SHA-256 of all that was read: `{record["data_sha256"]}`. Time: {record["seconds"]:.0f} s.
{note}
## Loss (nats per learnt token)

| copying: step | length | loss | | reading: step | loss |
|---|---|---|---|---|---|
{_rows(_thinned(record["induction"]), _thinned(record["reading"]))}

The whole curves are in `pretraining.json`.
"""


def _thinned(curve: Sequence[Sequence[float]], most: int = 12) -> list[Sequence[float]]:
    every = max(1, -(-len(curve) // most))
    return [*curve[::every], *([curve[-1]] if curve and (len(curve) - 1) % every else [])]


def _rows(copying: list[Sequence[float]], reading: list[Sequence[float]]) -> str:
    lines = []
    for index in range(max(len(copying), len(reading))):
        left = [f"{value:g}" for value in copying[index]] if index < len(copying) else [""] * 3
        right = [f"{value:g}" for value in reading[index]] if index < len(reading) else [""] * 2
        lines.append("| " + " | ".join([*left, "", *right]) + " |")
    return "\n".join(lines)

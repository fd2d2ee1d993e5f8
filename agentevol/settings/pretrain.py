"""The parameters of the embedded base model's pretraining. Imports nothing but pydantic."""

from __future__ import annotations

from pydantic import model_validator

from agentevol.settings.types import Count, Natural, Positive, Precision, Section, Seed, Text, parameter


class PretrainParams(Section):
    """The embedded base model: its shape and its lessons."""

    seed: Seed = parameter(0, "The seed of weights and texts.")
    hidden_size: Count = parameter(256, "Width; attention heads are 64 wide.", formerly="hidden")
    num_layers: Count = parameter(3, "Transformer layers.", formerly="layers")
    num_heads: Count = parameter(4, "Attention heads.", formerly="heads")
    num_key_value_heads: Count = parameter(
        2, "Heads of keys and values; fewer than `num_heads` share them, and the KV cache is smaller.", formerly="key_value_heads"
    )
    vocab_size: Count = parameter(2048, "Tokens of the vocabulary.", formerly="vocabulary")
    context_length: Count = parameter(2048, "Tokens that the model can read.", formerly="context")
    start_from: Text | None = parameter(
        None,
        "A folder with a model and tokenizer to continue from, e.g. models/base; null: new weights, and the lesson of copying first.",
    )
    induction_steps: Count = parameter(6000, "Steps of the first lesson, copying, at most.")
    induction_tokens: Count = parameter(1536, "Tokens per step of that lesson.")
    reading_tokens: Count = parameter(60_000_000, "Tokens of the second lesson, reading: lucky play, exercises and random play.")
    passes: Count = parameter(
        1, "How often each text is read. On a GPU reading is faster than generating; about 7 then keeps it busy with 16 processors."
    )
    max_minutes: Positive | None = parameter(None, "Minutes of the second lesson at most; null: `reading_tokens` alone decides.")
    batch_tokens: Count = parameter(4096, "Tokens per step of that lesson; a GPU can take 32768.")
    learning_rate: Positive = parameter(1e-3, "Peak learning rate.")
    precision: Precision = parameter("auto", "Number format of the computation, as in finetune.")
    num_workers: Natural | None = parameter(
        None, "Processes that generate the text; null: half of the processors with a GPU, else one; 0: none of their own.", effect="none"
    )
    checkpoint_minutes: Positive = parameter(5.0, "Minutes between checkpoints: what a kill can cost at most.", effect="none")

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> PretrainParams:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(f"num_key_value_heads: {self.num_key_value_heads} given; allowed: a divisor of num_heads, {self.num_heads}")
        return self

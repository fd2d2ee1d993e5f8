"""The parameters of the embedded base model's pretraining. Imports nothing but pydantic."""

from __future__ import annotations

from pydantic import model_validator

from agentevol.settings.types import Count, Natural, Positive, Precision, Section, Seed, Text, parameter


class PretrainParams(Section):
    """The embedded base model: its shape and its lessons."""

    seed: Seed = parameter(0, "The seed of the weights and the training text.")
    hidden_size: Count = parameter(256, "Width; attention heads are 64 wide.", formerly="hidden")
    num_layers: Count = parameter(3, "Transformer layers.", formerly="layers")
    num_heads: Count = parameter(4, "Attention heads.", formerly="heads")
    num_key_value_heads: Count = parameter(
        2, "Key-value heads; if fewer than `num_heads`, attention heads share them.", formerly="key_value_heads"
    )
    vocab_size: Count = parameter(2048, "Tokens of the vocabulary.", formerly="vocabulary")
    context_length: Count = parameter(2048, "The context length of the model in tokens.", formerly="context")
    start_from: Text | None = parameter(
        None,
        "A folder with a model and tokenizer to continue from, e.g. models/base; null: new weights, which learn copying first.",
    )
    induction_steps: Count = parameter(6000, "At most this many steps of the first lesson (copying).")
    induction_tokens: Count = parameter(1536, "Tokens per step of the first lesson.")
    reading_tokens: Count = parameter(
        60_000_000, "Tokens of the second lesson (reading): random play that reached its goal by chance, exercises, other random play."
    )
    passes: Count = parameter(
        1, "How often each text is read. A GPU reads faster than CPUs generate: with 16 CPU cores, about 7 passes keep it busy."
    )
    max_minutes: Positive | None = parameter(None, "At most this many minutes for the second lesson; null: only `reading_tokens` decides.")
    batch_tokens: Count = parameter(4096, "Tokens per step of the second lesson; a GPU can take 32768.")
    learning_rate: Positive = parameter(1e-3, "Peak learning rate.")
    precision: Precision = parameter("auto", "Number format of the computation, as in finetune.")
    num_workers: Natural | None = parameter(
        None,
        "Processes that generate the text; null: with a GPU all but one of the CPU cores, otherwise one; 0: the text is generated in this"
        " process.",
        effect="none",
    )
    checkpoint_minutes: Positive = parameter(5.0, "Minutes between checkpoints; a kill loses at most this much work.", effect="none")

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> PretrainParams:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(f"num_key_value_heads: {self.num_key_value_heads} given; allowed: a divisor of num_heads, {self.num_heads}")
        return self

"""The parameters of training. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Literal

from agentevol.settings.types import Count, NonNegative, Numbers, Positive, Precision, Section, Share, Text, parameter, schedule_value

LossAggregation = Literal["token_mean", "sequence_mean"]


class FinetuneParams(Section):
    """How a policy is trained."""

    epochs: Numbers = parameter(
        8.0, "Passes over the data: one number, or a list of M + 1 numbers (behavioural cloning first, then iterations 1, 2, ...)."
    )
    max_steps: Count | None = parameter(
        None, "Optimizer steps of every policy, instead of `epochs`; null: `epochs` decides.", formerly="updates"
    )
    learning_rate: Positive = parameter(1.5e-3, "Peak learning rate.")
    batch_tokens: Count = parameter(4096, "Tokens per optimizer step.")
    micro_batch_tokens: Count | None = parameter(
        None,
        "Tokens per forward pass; null: all tokens of a step, or as many as fit `memory_gib`.",
        effect="numerics",
        formerly="micro_tokens",
    )
    warmup_ratio: Share = parameter(0.1, "Share of the steps in which the learning rate rises.", formerly="warmup")
    min_lr_ratio: Share = parameter(0.1, "What the learning rate decays to at the end, as a share of the peak; the decay is linear.")
    weight_decay: NonNegative = parameter(0.01, "AdamW's weight decay, applied to matrices only.")
    max_grad_norm: Positive = parameter(1.0, "Gradients are clipped to this norm.", formerly="clip")
    precision: Precision = parameter(
        "auto", "Number format of the computation: auto is bfloat16 if the CPU or GPU has it in hardware, otherwise float32."
    )
    optimizer: Literal["adamw", "adamw_8bit", "adamw_paged_8bit"] = parameter(
        "adamw",
        "adamw, or bitsandbytes' AdamW with 8-bit moments (extra `gpu`): adamw_8bit, adamw_paged_8bit (may move them to CPU memory).",
    )
    gradient_checkpointing: bool = parameter(
        False, "Recompute activations in the backward pass: less memory, about a third more time.", effect="numerics"
    )
    memory_gib: Positive | None = parameter(
        None,
        "GiB that a training step may use; training estimates which micro-batches fit. null: 90 % of a GPU's memory, no limit on a CPU."
        " `micro_batch_tokens` overrides it.",
        effect="numerics",
    )
    max_tokens: Count = parameter(
        2048, "Training leaves out trajectories with more tokens than this, or than the model's own context, and the report says how many."
    )
    loss_aggregation: LossAggregation = parameter(
        "token_mean",
        "How token losses are combined into the loss of a step: token_mean (their sum, divided by the step's trained tokens, so long"
        " trajectories count more) or sequence_mean (the mean of each trajectory over its tokens; the sum of these means, divided by the"
        " mean number of trajectories per step of the whole training, so all count the same).",
        added_later=True,
    )
    lora_rank: Count | None = parameter(None, "Train LoRA adapters of this rank instead of all weights (needs the extra `lora`).")
    lora_alpha: Positive | None = parameter(None, "LoRA's alpha; null: twice the rank.")
    checkpoint_minutes: NonNegative | None = parameter(
        5.0, "Minutes between checkpoints; a kill loses at most this much work. null: no checkpoints.", effect="none"
    )
    accelerate_config: Text | None = parameter(
        None,
        "For several processes or FSDP: a file made by `accelerate config`; null: train in this process.",
        effect="numerics",
        formerly="accelerate",
    )

    def epochs_at(self, iteration: int) -> float | None:
        """Epochs of an iteration; 0 is behavioural cloning. None: `max_steps` decides."""
        return None if self.max_steps else float(schedule_value(self.epochs, iteration))

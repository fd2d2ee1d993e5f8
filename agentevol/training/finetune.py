"""Fine-tuning a causal language model on trajectories: behavioural cloning, and the learning step of AgentEvol (the paper's Eq. 8).

Invariants: only the policy's own messages are in the loss; a trajectory is used whole or, when it is too long, not at all and counted;
the same base model, data, settings and seed on the same machine give the same weights, also when the training was killed and resumed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import torch

from agentevol.chat.load import load_chat_tokenizer
from agentevol.chat.tokenize import ChatTokenizer, TokenizedExample
from agentevol.data.artifact_folder import digest_json
from agentevol.data.episode_reward import Objective
from agentevol.data.trajectory import Trajectory
from agentevol.models import load_model, max_context_length, model_digest
from agentevol.settings.effects import key_values
from agentevol.settings.finetune import FinetuneParams
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.chunked_loss import prepare_output_layer
from agentevol.training.export import save_policy, stored_dtype
from agentevol.training.heap import limit_kernel_cache, trim_heap
from agentevol.training.lora import add_lora_adapters, merge_lora_adapters, restore_frozen_weights
from agentevol.training.memory import ModelSize, estimate_training, logit_chunk_tokens, step_limit
from agentevol.training.optimizer import Optimizer, Progress, UpdateOutOfMemory
from agentevol.training.packing import PackedBatch, enable_packed_attention, pack_batches
from agentevol.training.padding import PaddedBatch, group_by_length
from agentevol.training.reference_logprobs import reference_logprobs
from agentevol.training.rules import load_rule
from agentevol.training.schedule import LearningRateSchedule, LossCurve
from agentevol.training.term_batch import TermBatcher, term_lengths, usable_terms
from agentevol.training.tokenized_dataset import tokenize_dataset

_VERSION = 4
"""Part of the checkpoints' key: raise it when the same inputs lead to another training."""
_FITTED = "micro_batch_tokens"
"""A checkpoint's fact: the size that fitted the memory. Without it, steps after a restart could add up their gradients in another order."""
_TRIM_INTERVAL = 8  # steps; trimming the heap after every step would cost some per cent of the time


_REMEDY = "set finetune.gradient_checkpointing, finetune.lora_rank, finetune.optimizer=adamw_8bit or a lower finetune.micro_batch_tokens"


class OutOfMemory(RuntimeError):
    """The model, its moments or a single example beside them do not fit into the GPU's memory."""


@contextmanager
def _explain_out_of_memory(what: str) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, UpdateOutOfMemory) as error:
        raise _does_not_fit(what, error) from None


def _does_not_fit(what: str, error: Exception) -> OutOfMemory:
    return OutOfMemory(f"{what} does not fit ({str(error).splitlines()[0]}); {_REMEDY}")


class NoTrainingData(ValueError):
    """None of the trajectories can be trained on."""


def finetune(
    base: Path,
    data: Sequence[Trajectory] | Path,
    output_dir: Path,
    *,
    settings: FinetuneParams,
    seed: int,
    epochs: float | None = None,
    max_steps: int | None = None,
    rule: str = "reward_weighted",
    rule_options: Mapping[str, Any] | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
    work_dir: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the model in `base` on trajectories, or on the dataset in a folder; writes a complete model folder to `output_dir`.

    epochs, max_steps: exactly one of them; passes over the data (the last may be partial), or optimiser steps over the repeated data.
    rule: the name of a learning rule (agentevol.training.rules), rule_options: the arguments of its class.
    template_kwargs: variables of the chat template.
    objective: what the rewards are made of (agentevol.data.episode_reward); None: the environments' own rewards.
    work_dir: a folder for cached tokens and checkpoints; None: neither is written.
    A trajectory is too long if it has more than `settings.max_tokens` tokens or does not fit in the model's context.

    Returns JSON values: `loss` ([step, nats per trained token] pairs), `steps`, `sequences` (trajectories trained on), `trained_tokens` and
    `tokens` (in the loss, and all of them, over all steps), `too_long` (item ids), `max_tokens`, `precision`, `packed`, `processes`,
    `micro_batch_tokens`, `seconds`, `checkpoint`: the folder to remove once the model is stored (None where there is none), and
    `rule_counts` where the rule counts something (LearningRule.counts).
    Raises NoTrainingData, NonFiniteLoss, ModelNotFound, and ValueError unless exactly one of `epochs` and `max_steps` is given.
    """
    if (epochs is None) == (max_steps is None):
        raise ValueError(f"epochs {epochs} and max_steps {max_steps} given; allowed: one of them, the other None")
    started = time.perf_counter()
    limit_kernel_cache()
    torch.manual_seed(seed)
    dataset = tokenize_dataset(data, base, work_dir / "tokens" if work_dir else None, template_kwargs, objective)
    chat, model = load_chat_tokenizer(base, template_kwargs), load_model(base)
    max_tokens = min(settings.max_tokens, max_context_length(model.config) or settings.max_tokens)
    learning_rule = load_rule(rule, rule_options)
    terms, too_long = usable_terms(learning_rule, dataset, max_tokens)
    if not terms:
        raise NoTrainingData(
            f"none of the {len(dataset.examples)} trajectories can be trained on ({len(too_long)} longer than {max_tokens} tokens)"
            + (f": {learning_rule.requirement}" if learning_rule.requirement else "")
        )
    packed = enable_packed_attention(model)
    if settings.lora_rank:
        model = add_lora_adapters(model, settings.lora_rank, settings.lora_alpha)
    lengths = term_lengths(terms, dataset)
    make_batches = pack_batches if packed else group_by_length
    batches = list(islice(make_batches(lengths, tokens=settings.batch_tokens, epochs=epochs or inf, seed=seed), max_steps))
    if settings.gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers renames this method
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    size = ModelSize.of(model)
    with _explain_out_of_memory("the model"):
        optimizer = Optimizer(
            model,
            precision=settings.precision,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            kind=settings.optimizer,
        )
    micro_batch_tokens = settings.micro_batch_tokens or _fitting_tokens(settings, size, optimizer)
    pad_id = None if packed else int(chat.tokenizer.pad_token_id or 0)
    if settings.batch_tokens > logit_chunk_tokens(size.vocabulary):
        few = [(TokenizedExample([0, 0], [True, True]), 1.0)]
        few_tokens = PackedBatch.from_examples(few) if pad_id is None else PaddedBatch.from_examples(few, pad_id)
        prepare_output_layer(optimizer.model, lambda: few_tokens.logits(optimizer.model, optimizer.accelerator.device))
    episodes = sorted({i for term in terms for i in term.episodes})
    reference = None
    if learning_rule.is_on_policy and all(len(dataset.logprobs[i]) for i in episodes):
        reference = {i: torch.tensor(dataset.logprobs[i]) for i in episodes}
    elif learning_rule.uses_reference:
        with _explain_out_of_memory("a pass for the reference policy's log-probabilities"):
            reference = reference_logprobs(
                optimizer,
                dataset,
                episodes,
                pad_id=pad_id,
                tokens=micro_batch_tokens or settings.batch_tokens,
                policy_digest=model_digest(base),
                cache_folder=work_dir / "reference" if work_dir else None,
            )
    batcher = TermBatcher(
        learning_rule,
        terms,
        dataset,
        pad_id=pad_id,
        micro_batch_tokens=micro_batch_tokens,
        aggregation=settings.loss_aggregation,
        mean_terms=sum(map(len, batches)) / len(batches),
        reference=reference,
        optimizer=optimizer,
    )
    schedule = LearningRateSchedule(settings.learning_rate, len(batches), settings.warmup_ratio, settings.min_lr_ratio)
    checkpoint = None
    if work_dir and settings.checkpoint_minutes is not None:
        inputs = [model_digest(base), dataset.key, _settings_in_key(settings), epochs, max_steps, seed, rule]
        inputs += [dict(rule_options)] if rule_options else []
        key = digest_json([_VERSION, *inputs, optimizer.num_processes, optimizer.uses_bfloat16])
        checkpoint = Checkpoint(work_dir / "checkpoints" / key[:16], settings.checkpoint_minutes)
    curve = _train(optimizer, batcher, batches, schedule, checkpoint, progress)
    _save(optimizer, chat, base, output_dir)
    counts = learning_rule.counts(dataset, terms)
    return {
        "loss": curve.points,
        "steps": len(batches),
        "sequences": len(episodes),
        "trained_tokens": sum(map(batcher.trained_tokens, batches)),
        "tokens": sum(lengths[i] for batch in batches for i in batch),
        "too_long": too_long,
        "max_tokens": max_tokens,
        "precision": "bfloat16" if optimizer.uses_bfloat16 else "float32",
        "packed": packed,
        "processes": optimizer.num_processes,
        "micro_batch_tokens": batcher.micro_batch_tokens,
        "checkpoint": str(checkpoint.folder) if checkpoint else None,
        "seconds": round(time.perf_counter() - started, 2),
        **({"rule_counts": counts} if counts else {}),
    }


def _train(
    optimizer: Optimizer,
    batcher: TermBatcher,
    batches: Sequence[Sequence[int]],
    schedule: LearningRateSchedule,
    checkpoint: Checkpoint | None,
    progress: Progress | None,
) -> LossCurve:
    curve = LossCurve(len(batches))
    first_step = checkpoint.restore(optimizer, curve) if checkpoint else 0
    if checkpoint and _FITTED in checkpoint.facts:
        batcher.micro_batch_tokens = checkpoint.facts[_FITTED]
    for step, batch in enumerate(batches[first_step:], start=first_step):
        given = batcher.micro_batch_tokens
        with _explain_out_of_memory("AdamW's update"):
            loss = _fitting_step(optimizer, batcher, batch, schedule.at(step))
        if checkpoint and batcher.micro_batch_tokens != given:
            checkpoint.facts[_FITTED] = batcher.micro_batch_tokens
        curve.add(step + 1, loss)
        if progress is not None:
            progress(step + 1, len(batches), loss)
        if checkpoint and step + 1 < len(batches):
            checkpoint.save_if_due(step + 1, optimizer, curve)
        if (step + 1) % _TRIM_INTERVAL == 0 or step + 1 == len(batches):
            trim_heap()
    return curve


def _fitting_step(optimizer: Optimizer, batcher: TermBatcher, batch: Sequence[int], learning_rate: float) -> float:
    """A step; where a GPU has too little memory for it, the same step with micro-batches of half the size, from then on."""
    while True:
        try:
            return optimizer.step(batcher.split(batch), learning_rate, divisor=batcher.divisor(batch))
        except torch.OutOfMemoryError as error:
            optimizer.discard_gradients()
            lengths = [batcher.lengths[i] for i in batch]
            tokens = min(batcher.micro_batch_tokens or sum(lengths), sum(lengths))
            if optimizer.num_processes > 1 or tokens <= max(lengths):
                raise _does_not_fit(f"a training step with micro-batches of {tokens} tokens", error) from None
            batcher.micro_batch_tokens = max(1, tokens // 2)
        # Outside of the handler, where the error holds the tensors of the step no more.
        torch.cuda.empty_cache()


def _fitting_tokens(settings: FinetuneParams, size: ModelSize, optimizer: Optimizer) -> int | None:
    """The tokens of a micro-batch that fits the memory by estimate; None: no limit (a CPU without `memory_gib`)."""
    device = optimizer.accelerator.device
    gpu_memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
    available = step_limit(settings.memory_gib, gpu_memory)
    if available is None:
        return None
    memory = estimate_training(
        size,
        bfloat16=optimizer.uses_bfloat16,
        optimizer=settings.optimizer,
        gradient_checkpointing=settings.gradient_checkpointing,
        master_weights=optimizer.masters is not None,
        num_shards=optimizer.num_processes if optimizer.is_sharded else 1,
    )
    return memory.fitting_tokens(available)


def _settings_in_key(settings: FinetuneParams) -> dict[str, Any]:
    """The settings that the weights depend on, as JSON values; `epochs` and `max_steps` are arguments of `finetune`."""
    return {name: value for name, value in key_values(settings).items() if name not in ("epochs", "max_steps")}


def _save(optimizer: Optimizer, chat: ChatTokenizer, base: Path, output_dir: Path) -> None:
    if optimizer.masters is not None:
        optimizer.masters.give_to_model()
        if stored_dtype(base) != optimizer.masters.dtype:
            restore_frozen_weights(optimizer.unwrapped_model(), base)
    state = optimizer.accelerator.get_state_dict(optimizer.model) if optimizer.is_sharded else None
    if optimizer.accelerator.is_main_process:
        save_policy(merge_lora_adapters(optimizer.unwrapped_model()), chat, base, output_dir, state)
    optimizer.accelerator.wait_for_everyone()

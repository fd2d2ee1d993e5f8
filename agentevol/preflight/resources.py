"""Estimates the memory of a run from the model's size, and checks that the training settings suit a pretrained model.

Invariant: these are estimates; a run is refused only if what no setting of this run makes smaller (weights; in training also
gradients and optimizer state) exceeds the memory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agentevol.preflight.check import Check
from agentevol.settings.schema import Params
from agentevol.training.launch import machines_and_processes, num_shards
from agentevol.training.memory import GIB, ModelSize, TrainingMemory, estimate_training, kv_cache_bytes_per_token, step_limit
from agentevol.training.precision import resolve_precision

_LARGE, _HIGH_RATE, _HIGH_LORA_RATE, _MANY_EPOCHS = 100_000_000, 1e-4, 1e-3, 3.0


def check_memory(size: ModelSize, params: Params, *, plays: bool, trains: bool) -> Check:
    """The estimated memory of playing and training against that of the machine's GPU, or of the machine itself."""
    device, total, free = available_memory()
    needs, fixed = {}, 0
    if plays:
        processes, number = (1, 2) if device == "GPU" else (params.rollout.num_workers, 4)
        fixed = number * size.parameters
        needs["playing"] = processes * fixed + _cache_bytes(size, params, number, device)
    if trains:
        training = training_memory(size, params, device)
        machines, number = machines_and_processes(params.finetune)
        processes = 1 if device == "GPU" else number // machines  # each has a GPU of its own, or they share the machine's memory
        tokens = _micro_batch_tokens(training, params, total if device == "GPU" else None)
        fixed = max(fixed, processes * training.fixed)
        needs["training"] = processes * training.total(tokens, tokens)
    text = ", ".join(f"{phase} about {amount / GIB:.1f} GiB" for phase, amount in needs.items())
    detail = f"{text or 'not needed here'}; {free / GIB:.1f} of {total / GIB:.1f} GiB free ({device})"
    if fixed > total:
        return Check("memory", "error", detail, "take a smaller model or a larger machine, or set finetune.lora_rank")
    if max(needs.values(), default=0) > free:
        remedy = "lower rollout.concurrency, rollout.num_workers or finetune.micro_batch_tokens, or set finetune.lora_rank"
        return Check("memory", "question", detail, remedy)
    return Check("memory", "ok", detail)


def training_memory(size: ModelSize, params: Params, device: str) -> TrainingMemory:
    """The estimate for these settings, of one process. Only a process that trains alone on a GPU has weights of 16 bits."""
    return estimate_training(
        trained_size(size, params.finetune.lora_rank),
        bfloat16=resolve_precision(params.finetune.precision) == "bfloat16",
        optimizer=params.finetune.optimizer,
        gradient_checkpointing=params.finetune.gradient_checkpointing,
        master_weights=device == "GPU" and machines_and_processes(params.finetune)[1] == 1,
        num_shards=num_shards(params.finetune),
    )


def trained_size(size: ModelSize, lora_rank: int | None) -> ModelSize:
    """The size with the parameters that are trained: those of LoRA adapters of this rank, or all."""
    if not lora_rank:
        return size
    inputs_and_outputs = 2 * (size.width + size.query_width) + 2 * (size.width + size.key_width) + 3 * (size.width + size.mlp_width)
    return replace(size, trained_parameters=min(size.parameters, size.layers * lora_rank * inputs_and_outputs))


def _micro_batch_tokens(training: TrainingMemory, params: Params, gpu_memory: int | None) -> int:
    """The tokens of the largest micro-batch: those that training fits to the memory, but never less than the longest trajectory has."""
    settings = params.finetune
    available = step_limit(settings.memory_gib, gpu_memory)
    tokens = settings.micro_batch_tokens or settings.batch_tokens
    if settings.micro_batch_tokens is None and available is not None:
        tokens = training.fitting_tokens(available)
    return max(min(tokens, settings.batch_tokens), min(settings.max_tokens, params.rollout.context_length))


def _cache_bytes(size: ModelSize, params: Params, number: int, device: str) -> int:
    """The KV cache of all conversations at their full length; on a GPU it grows within a budget, and one conversation is enough."""
    conversations = 1 if device == "GPU" else params.rollout.concurrency
    return kv_cache_bytes_per_token(size, bytes_per_number=number) * conversations * params.rollout.context_length


def check_learning_rate(size: ModelSize, params: Params) -> Check:
    """Whether the learning rate and the epochs suit a large pretrained model; the defaults are for the embedded one."""
    settings = params.finetune
    epochs = max(settings.epochs) if isinstance(settings.epochs, list) else settings.epochs
    detail = f"finetune.learning_rate {settings.learning_rate:g}"
    detail += f", {settings.max_steps} steps" if settings.max_steps else f", {epochs:g} epochs"
    too_high = settings.learning_rate > (_HIGH_LORA_RATE if settings.lora_rank else _HIGH_RATE)
    if size.parameters < _LARGE or not (too_high or (epochs > _MANY_EPOCHS and not settings.max_steps)):
        return Check("learning rate", "ok", detail)
    usual = "1e-4 to 3e-4 with LoRA" if settings.lora_rank else "1e-5 to 5e-5"
    remedy = f"usual for a pretrained model of {size.parameters / 1e6:,.0f} million parameters: {usual}, 1 to 3 epochs"
    return Check("learning rate", "question", detail, remedy)


def available_memory() -> tuple[str, int, int]:
    """The device that computes (GPU or CPU), its memory and what of it is free, in bytes."""
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd")):
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            return "GPU", total, free
    import psutil

    memory = psutil.virtual_memory()
    limit = _cgroup_limit()
    return "CPU", min(memory.total, limit or memory.total), min(memory.available, limit or memory.available)


def _cgroup_limit() -> int | None:
    """The memory limit of this container in bytes; None without one."""
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < 2**60 else None
    return None

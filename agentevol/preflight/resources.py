"""What a run needs of the machine, estimated from the model's size, and whether its training settings suit a pretrained model.

Invariant: these are estimates; a run is refused only if the weights alone exceed the memory.
"""

from __future__ import annotations

from pathlib import Path

from agentevol.preflight.check import Check
from agentevol.preflight.files import ModelSize
from agentevol.settings.schema import Params

WEIGHT_BYTES = 4
"""float32, in playing and in training."""
TRAINED_WEIGHT_BYTES = 16
"""A weight, its gradient, and AdamW's two moments, all float32."""
KV_BYTES = 4
_ACTIVATIONS = 34  # numbers that a layer keeps of one token and hidden unit for the backward pass
_LOGIT_BYTES = 12  # of one logit: itself, its probability, its gradient
_LARGE, _HIGH_RATE, _HIGH_LORA_RATE, _MANY_EPOCHS = 100_000_000, 1e-4, 1e-3, 3.0
_GIB = 2**30


def check_memory(size: ModelSize, params: Params, *, plays: bool, trains: bool) -> Check:
    """The estimated memory of playing and training against that of the machine's GPU, or of the machine itself."""
    device, total, free = available_memory()
    needs, weights = {}, 0
    if plays:
        weights = WEIGHT_BYTES * size.parameters
        needs["playing"] = playing_bytes(size, params, processes=1 if device == "GPU" else params.rollout.num_workers)
    if trains:
        needs["training"] = training_bytes(size, params)
        weights = max(weights, size.parameters * (WEIGHT_BYTES if params.finetune.lora_rank else TRAINED_WEIGHT_BYTES))
    text = ", ".join(f"{phase} about {amount / _GIB:.1f} GiB" for phase, amount in needs.items())
    detail = f"{text or 'not needed here'}; {free / _GIB:.1f} of {total / _GIB:.1f} GiB free ({device})"
    remedy = "lower rollout.concurrency, rollout.num_workers or finetune.micro_batch_tokens, or set finetune.lora_rank"
    if weights > total and not params.finetune.accelerate_config:
        return Check("memory", "error", detail, "take a smaller model or a larger machine, or set finetune.lora_rank")
    if max(needs.values(), default=0) > free:
        return Check("memory", "question", detail, remedy)
    return Check("memory", "ok", detail)


def playing_bytes(size: ModelSize, params: Params, *, processes: int) -> int:
    """Weights in every process, and the KV cache of all conversations at their full length."""
    cache = KV_BYTES * size.num_layers * size.kv_width * params.rollout.concurrency * params.rollout.context_length
    return processes * WEIGHT_BYTES * size.parameters + cache


def training_bytes(size: ModelSize, params: Params) -> int:
    """Weights with what AdamW keeps, and the activations and logits of one micro-batch."""
    settings = params.finetune
    tokens = min(settings.micro_batch_tokens or settings.batch_tokens, settings.batch_tokens)
    activations = WEIGHT_BYTES * _ACTIVATIONS * tokens * size.num_layers * size.hidden_size
    logits = _LOGIT_BYTES * tokens * size.vocab_size
    return size.parameters * (WEIGHT_BYTES if settings.lora_rank else TRAINED_WEIGHT_BYTES) + activations + logits


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

"""Makes the embedded base model: a small Llama that can copy, read and play by luck, and has seen no expert.

Two lessons: induction over random tokens (induction.py), then reading (reading.py) of documents (documents.py): lucky play, exercises,
random play and some more induction.

Invariant: everything is generated from the seed, and nothing is downloaded. On a CPU the same settings on the same machine give the same
weights, also after kills.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from agentevol.models import load_model, load_tokenizer
from agentevol.pretraining import induction, model_card
from agentevol.pretraining.reading import RESERVED_IDS, read
from agentevol.pretraining.tokenizer import build_tokenizer
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.optimizer import Optimizer, Progress

INDUCTION_LEARNING_RATE = 7e-4
"""For a width of 256: at 3e-3 the model did not learn to copy in 2,900 steps."""


def pretrain(
    output_dir: Path, *, settings: PretrainParams, work_dir: Path, start: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Make the base model and write it to `output_dir`, with its tokenizer, its record (`pretraining.json`) and its card.

    `start`: a model folder whose weights and tokenizer reading continues from; None: new weights, and the lesson of copying first.
    `work_dir`: holds checkpoints and generated text; a killed pretraining with the same folder and settings continues there.
    Returns the record: parameters, SHA-256 of all batches of reading, the loss curves ([step, length, nats per token] of induction,
    [step, nats per token] of reading), tokens, seconds of both lessons, hardware, and `earlier`: the records of the models it continues.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(settings.vocab_size, settings.seed) if start is None else load_tokenizer(start)
    tokenizer.save_pretrained(work_dir / "tokenizer")
    began = time.monotonic()
    if start is None:
        model, induction_curve = _train_induction(settings, work_dir, progress)
    else:
        model, induction_curve = load_model(start), []
    induction_seconds = time.monotonic() - began
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=0.05, max_grad_norm=1.0, master_weights=False)
    reading = read(optimizer, work_dir / "tokenizer", len(tokenizer), settings, work_dir, progress)
    model = optimizer.unwrapped_model()
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)
    record = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data_sha256": reading.digest,
        "induction": induction_curve,
        "reading": reading.curve,
        "tokens": reading.tokens,
        "seconds": round(induction_seconds + reading.seconds, 1),
        "hardware": describe_hardware(),
        "precision": "bfloat16" if optimizer.uses_bfloat16 else "float32",
        "earlier": earlier_records(start),
    }
    model_card.write(output_dir, record, settings)
    return record


def earlier_records(start: Path | None) -> list[dict[str, Any]]:
    """Tokens, seconds and hardware of every pretraining that led to the model `start`, the first one first."""
    if start is None or not (start / model_card.RECORD).is_file():
        return []
    record = json.loads((start / model_card.RECORD).read_text(encoding="utf-8"))
    own = {name: record[name] for name in ("tokens", "seconds", "hardware", "data_sha256", "note") if name in record}
    return [*record.get("earlier", []), own]


def describe_hardware() -> str:
    """The processor or the GPU that computes."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "CPU")
    return f"{os.cpu_count()} processors, {name}"


def new_model(settings: PretrainParams) -> Any:
    """A Llama with random weights: heads of width 64 (the CPU's attention kernel is half as fast at 32), tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=settings.vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_key_value_heads,
        intermediate_size=-(-settings.hidden_size * 8 // 3 // 64) * 64,
        max_position_embeddings=settings.context_length,
        tie_word_embeddings=True,
        head_dim=64,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def _train_induction(settings: PretrainParams, work_dir: Path, progress: Progress | None) -> tuple[Any, list[list[float]]]:
    """The first lesson, over random ids and without a tokenizer; returns the model and the loss curve."""
    torch.manual_seed(settings.seed)
    optimizer = Optimizer(new_model(settings), precision=settings.precision, weight_decay=0.1, max_grad_norm=1.0, master_weights=False)
    curve = induction.train_induction(
        optimizer,
        settings.seed,
        low=RESERVED_IDS,
        high=settings.vocab_size,
        tokens_per_batch=settings.induction_tokens,
        max_steps=settings.induction_steps,
        learning_rate=INDUCTION_LEARNING_RATE,
        checkpoint=Checkpoint(work_dir / "induction", settings.checkpoint_minutes),
        report=(lambda step, _, loss: progress(step, settings.induction_steps, loss)) if progress else None,
    )
    return optimizer.unwrapped_model(), curve

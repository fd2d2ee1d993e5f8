"""Making the embedded base model: a small Llama that can copy, read and follow the worlds' form of speech, and has seen no expert.

Three lessons, one after the other in difficulty: induction over random tokens (induction.py), then a mixture of reading exercises
(exercises.py), random play (random_play.py) and some more induction. Everything is generated from the seed; nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentevol.chat.tokenize import ChatTokenizer, TokenizedExample
from agentevol.data.trajectory import Message
from agentevol.models import load_model
from agentevol.pretraining import exercises, induction, model_card, random_play, tokenizer
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.optimizer import Optimizer
from agentevol.training.padding import Batch, batches
from agentevol.training.schedule import Schedule

RESERVED = 8
"""The first ids are kept out of the random sequences: the special tokens are among them."""
COPYING_RATE = 7e-4
"""For a width of 256: at 3e-3 copying was not found in 2,900 steps."""
WINDOW = 512
"""Documents drawn, tokenised and sorted by length at a time."""


def pretrain(
    out: Path, *, settings: PretrainParams, start: Path | None = None, progress: Callable[[int, int, float], None] | None = None
) -> dict[str, Any]:
    """Make the base model and write it, its tokenizer and its record (`pretraining.json`) into `out`.

    `start`: a model of the same shape that has had the first lesson already; without it the lesson is given.
    Returns the record: parameters, hash of all that was read, the loss curves ([step, length, nats per token] of induction,
    [step, nats per token] of reading), tokens, seconds. About an hour on one quiet core with the default settings.
    """
    started = time.perf_counter()
    words = tokenizer.build(settings.vocab_size, settings.seed)
    if start is None:
        model, copying = _copying(settings, progress)
    else:
        model, copying = load_model(start), []
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=0.05, clip=1.0)
    reading, seen, digest = _read(optimizer, ChatTokenizer(words), settings, progress)
    model = optimizer.unwrapped()
    model.config.pad_token_id, model.config.eos_token_id = words.pad_token_id, words.eos_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = words.eos_token_id, words.pad_token_id
    model.save_pretrained(out)
    words.save_pretrained(out)
    record = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data_sha256": digest,
        "induction": copying,
        "reading": reading,
        "tokens": seen,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(model_card.write(record, settings), encoding="utf-8")
    return record


def _copying(settings: PretrainParams, progress: Callable[[int, int, float], None] | None) -> tuple[Any, list[list[float]]]:
    """The first lesson, over random ids: it knows of no tokenizer."""
    torch.manual_seed(settings.seed)
    optimizer = Optimizer(new_model(settings), precision=settings.precision, weight_decay=0.1, clip=1.0)
    tell = (lambda step, _, loss: progress(step, settings.induction_steps, loss)) if progress else None
    curve = induction.teach(
        optimizer,
        np.random.default_rng(settings.seed),
        low=RESERVED,
        high=settings.vocab_size,
        tokens_per_batch=settings.induction_tokens,
        max_steps=settings.induction_steps,
        learning_rate=COPYING_RATE,
        report=tell,
    )
    return optimizer.unwrapped(), curve


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


def _read(
    optimizer: Optimizer,
    chat: ChatTokenizer,
    settings: PretrainParams,
    progress: Callable[[int, int, float], None] | None,
) -> tuple[list[list[float]], int, str]:
    """The mixture; returns (loss curve, tokens seen, SHA-256 of the learnt batches)."""
    steps = settings.reading_steps
    schedule = Schedule(settings.learning_rate, steps, warmup=0.02, min_ratio=0.05)
    curve: list[list[float]] = []
    recent: list[float] = []
    seen, digest = 0, hashlib.sha256()
    for step, batch in zip(range(steps), mixture(chat, settings), strict=False):
        digest.update(batch.ids.numpy().tobytes() + batch.labels.numpy().tobytes())
        seen += int(batch.ids.numel())
        recent.append(optimizer.step([batch], schedule.at(step)))
        if progress is not None:
            progress(step + 1, steps, recent[-1])
        if len(recent) >= max(1, steps // 100):
            curve.append([step + 1, round(sum(recent) / len(recent), 4)])
            recent = []
    return curve, seen, digest.hexdigest()


def mixture(chat: ChatTokenizer, settings: PretrainParams) -> Iterator[Batch]:
    """Batches for ever: six parts reading, three parts random play (by documents), and every tenth batch induction."""
    draw = random.Random(f"reading:{settings.seed}")
    rng = np.random.default_rng([settings.seed, 1])
    while True:
        documents: list[tuple[TokenizedExample, float]] = []
        while len(documents) < WINDOW:
            encoded = encode_play(chat, random_play.episode(draw)) if draw.random() < 1 / 3 else encode_exercise(chat, exercises.draw(draw))
            if len(encoded.token_ids) <= settings.context_length:
                documents.append((encoded, 1.0))
        for index, batch in enumerate(batches(documents, tokens=settings.batch_tokens, epochs=1, seed=draw.randrange(1 << 30), pad=0)):
            yield batch
            if index % 10 == 9:
                yield induction.batch(rng, max(1, settings.batch_tokens // 384), 384, RESERVED, len(chat.tokenizer))


def encode_exercise(chat: ChatTokenizer, turns: exercises.Exercise) -> TokenizedExample:
    """Learnt from: the answers."""
    messages = [message for asked, answer in turns for message in (Message("user", asked), Message("assistant", answer, loss=True))]
    return chat.tokenize_conversation(messages)


def encode_play(chat: ChatTokenizer, messages: list[Message]) -> TokenizedExample:
    """Learnt from: everything after the opening, what the world says included."""
    encoded = chat.tokenize_conversation(messages)
    opening = len(chat.tokenize_prompt(messages[0].content))
    return TokenizedExample(encoded.token_ids, [index >= opening for index in range(len(encoded.token_ids))])

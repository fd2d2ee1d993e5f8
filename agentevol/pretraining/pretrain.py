"""Makes the embedded base model: a small Llama that can copy, read and follow the form of the environments' text, and has seen no expert.

Three lessons of increasing difficulty: induction over random tokens (induction.py), then a mixture of reading exercises (exercises.py),
random play (random_play.py) and some more induction.

Invariant: everything is generated from the seed, and nothing is downloaded; the same settings on the same machine give the same weights.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentevol.chat.tokenize import ChatTokenizer, TokenizedExample
from agentevol.data.trajectory import Message
from agentevol.models import load_model
from agentevol.pretraining import exercises, induction, model_card, random_play
from agentevol.pretraining.tokenizer import build_tokenizer
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.micro_batch import WeightedExample
from agentevol.training.optimizer import Optimizer, Progress
from agentevol.training.padding import PaddedBatch, padded_batches
from agentevol.training.schedule import LearningRateSchedule

RESERVED_IDS = 8
"""The first token ids are not used in random sequences, because the special tokens are among them."""
INDUCTION_LEARNING_RATE = 7e-4
"""For a width of 256: at 3e-3 the model did not learn to copy in 2,900 steps."""
DOCUMENTS_PER_WINDOW = 512
"""Documents that are generated, tokenised and sorted by length together."""
_INDUCTION_LENGTH = 384
"""The length, in tokens, of the sequences for induction in the mixture."""


def pretrain(out: Path, *, settings: PretrainParams, start: Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Make the base model and write it to `out`, with its tokenizer, its record (`pretraining.json`) and its card.

    `start`: a model of the same shape that has had the first lesson already; None: the lesson is given.
    Returns the record: parameters, SHA-256 of all training text, the loss curves ([step, length, nats per token] of induction,
    [step, nats per token] of reading), tokens, seconds. It takes about an hour on one idle core with the default settings.
    """
    started = time.perf_counter()
    tokenizer = build_tokenizer(settings.vocab_size, settings.seed)
    if start is None:
        model, induction_curve = _train_induction(settings, progress)
    else:
        model, induction_curve = load_model(start), []
    optimizer = Optimizer(model, precision=settings.precision, weight_decay=0.05, max_grad_norm=1.0)
    reading_curve, tokens, digest = _train_reading(optimizer, ChatTokenizer(tokenizer), settings, progress)
    model = optimizer.unwrapped_model()
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    record = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data_sha256": digest,
        "induction": induction_curve,
        "reading": reading_curve,
        "tokens": tokens,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(model_card.render(record, settings), encoding="utf-8")
    return record


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


def mixed_batches(chat: ChatTokenizer, settings: PretrainParams) -> Iterator[PaddedBatch]:
    """An endless mixture: of the documents two thirds are exercises and one third random play; induction follows every tenth batch."""
    document_rng = random.Random(f"reading:{settings.seed}")
    induction_rng = np.random.default_rng([settings.seed, 1])
    while True:
        documents: list[WeightedExample] = []
        while len(documents) < DOCUMENTS_PER_WINDOW:
            if document_rng.random() < 1 / 3:
                example = encode_random_play(chat, random_play.episode(document_rng))
            else:
                example = encode_exercise(chat, exercises.draw(document_rng))
            if len(example.token_ids) <= settings.context_length:
                documents.append((example, 1.0))
        window_seed = document_rng.randrange(1 << 30)
        for index, batch in enumerate(padded_batches(documents, tokens=settings.batch_tokens, epochs=1, seed=window_seed, pad_id=0)):
            yield batch
            if index % 10 == 9:
                rows = max(1, settings.batch_tokens // _INDUCTION_LENGTH)
                yield induction.batch(induction_rng, rows, _INDUCTION_LENGTH, RESERVED_IDS, len(chat.tokenizer))


def encode_exercise(chat: ChatTokenizer, turns: exercises.Exercise) -> TokenizedExample:
    """The answers are in the loss."""
    messages = [m for question, answer in turns for m in (Message("user", question), Message("assistant", answer, loss=True))]
    return chat.tokenize_conversation(messages)


def encode_random_play(chat: ChatTokenizer, messages: list[Message]) -> TokenizedExample:
    """Everything after the first message is in the loss, the observations included."""
    example = chat.tokenize_conversation(messages)
    opening = len(chat.tokenize_prompt(messages[0].content))
    return TokenizedExample(example.token_ids, [index >= opening for index in range(len(example.token_ids))])


def _train_induction(settings: PretrainParams, progress: Progress | None) -> tuple[Any, list[list[float]]]:
    """The first lesson, over random ids and without a tokenizer; returns the model and the loss curve."""
    torch.manual_seed(settings.seed)
    optimizer = Optimizer(new_model(settings), precision=settings.precision, weight_decay=0.1, max_grad_norm=1.0)
    report = (lambda step, _, loss: progress(step, settings.induction_steps, loss)) if progress else None
    curve = induction.train_induction(
        optimizer,
        np.random.default_rng(settings.seed),
        low=RESERVED_IDS,
        high=settings.vocab_size,
        tokens_per_batch=settings.induction_tokens,
        max_steps=settings.induction_steps,
        learning_rate=INDUCTION_LEARNING_RATE,
        report=report,
    )
    return optimizer.unwrapped_model(), curve


def _train_reading(
    optimizer: Optimizer, chat: ChatTokenizer, settings: PretrainParams, progress: Progress | None
) -> tuple[list[list[float]], int, str]:
    """The other lessons; returns the loss curve, the number of tokens, and the SHA-256 of all batches."""
    steps = settings.reading_steps
    schedule = LearningRateSchedule(settings.learning_rate, steps, warmup_ratio=0.02, min_ratio=0.05)
    curve: list[list[float]] = []
    recent: list[float] = []
    tokens, digest = 0, hashlib.sha256()
    for step, batch in zip(range(steps), mixed_batches(chat, settings), strict=False):
        digest.update(batch.ids.numpy().tobytes() + batch.labels.numpy().tobytes())
        tokens += int(batch.ids.numel())
        recent.append(optimizer.step([batch], schedule.at(step)))
        if progress is not None:
            progress(step + 1, steps, recent[-1])
        if len(recent) >= max(1, steps // 100):
            curve.append([step + 1, round(sum(recent) / len(recent), 4)])
            recent = []
    return curve, tokens, digest.hexdigest()

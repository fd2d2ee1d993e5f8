"""The second lesson of the base model: reading lucky play, exercises and random play, with some copying in between.

Invariant: the batches depend on the settings alone, not on the number of generating processes or on kills; on a CPU the weights do too,
unless `max_minutes` bounds the lesson.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.pretraining import documents, induction
from agentevol.pretraining.documents import window_reader
from agentevol.settings.pretrain import PretrainParams
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.heap import trim_heap
from agentevol.training.optimizer import Optimizer, Progress
from agentevol.training.padding import SORT_WINDOW, PaddedBatch, padded_batches
from agentevol.training.schedule import LearningRateSchedule, LossCurve

RESERVED_IDS = 8
"""The first token ids are not used in random sequences, because the special tokens are among them."""
_INDUCTION_LENGTH = 384
"""The length, in tokens, of the random sequences between the documents."""
_WINDOWS_BETWEEN_PASSES = 8
"""A window is read again after this many others."""
_TRIM_INTERVAL = 50


@dataclass(slots=True)
class _Position:
    """Where the reading is: the window, the batches of it that are done, tokens (padding included) and seconds so far."""

    window: int = 0
    batch: int = 0
    tokens: int = 0
    seconds: float = 0.0
    digest: str = ""


@dataclass(slots=True)
class Reading:
    """What the lesson was: its loss curve ([step, nats per trained token]), tokens, SHA-256 over all batches, and seconds."""

    curve: list[list[float]] = field(default_factory=list)
    tokens: int = 0
    digest: str = ""
    seconds: float = 0.0


def read(
    optimizer: Optimizer, tokenizer_folder: Path, vocab_size: int, settings: PretrainParams, work_dir: Path, progress: Progress | None
) -> Reading:
    """Train on `settings.reading_tokens` tokens, or for `settings.max_minutes`; continues from the checkpoint in `work_dir`."""
    total, steps = settings.reading_tokens, -(-settings.reading_tokens // settings.batch_tokens)
    schedule = LearningRateSchedule(settings.learning_rate, total, warmup_ratio=0.02, min_ratio=0.05)
    curve, checkpoint = LossCurve(steps), Checkpoint(work_dir / "reading", settings.checkpoint_minutes)
    step = checkpoint.restore(optimizer, curve)
    position = _Position(**checkpoint.facts)
    started = time.monotonic() - position.seconds
    with window_reader(
        work_dir / "windows",
        tokenizer_folder,
        seed=settings.seed,
        max_tokens=settings.context_length,
        num_workers=_num_workers(settings),
        size=documents.DOCUMENTS_PER_WINDOW,
    ) as reader:
        while (share := _share_done(position, settings)) < 1:
            lags = range(0, settings.passes * _WINDOWS_BETWEEN_PASSES, _WINDOWS_BETWEEN_PASSES)
            read_now = [document for lag in lags if lag <= position.window for document in reader.read(position.window - lag)]
            batches = list(window_batches(read_now, position.window, vocab_size, settings))
            for batch in batches[position.batch :]:
                loss = optimizer.step([batch], schedule.at(min(total - 1, int(share * total))))
                step += 1
                position.batch += 1
                position.tokens += int(batch.ids.numel())
                position.seconds = time.monotonic() - started
                data = batch.ids.numpy().tobytes() + batch.labels.numpy().tobytes()
                position.digest = hashlib.sha256(position.digest.encode() + data).hexdigest()
                curve.add(step, loss)
                share = _share_done(position, settings)
                if progress is not None:
                    progress(min(steps, int(share * steps)), steps, loss)  # full batches; real ones have padding
                checkpoint.facts = asdict(position)
                checkpoint.save_if_due(step, optimizer, curve)
                if step % _TRIM_INTERVAL == 0:
                    trim_heap()
                if share >= 1:
                    break
            reader.discard(position.window - lags[-1])
            position.window, position.batch = position.window + 1, 0
    return Reading(curve.points, position.tokens, position.digest, position.seconds)


def window_batches(window: Sequence[TokenizedExample], number: int, vocab_size: int, settings: PretrainParams) -> Iterator[PaddedBatch]:
    """The documents of a window in batches; a batch of random sequences to copy from follows every tenth."""
    rng = np.random.default_rng([settings.seed, 1, number])
    examples = [(document, 1.0) for document in window]
    seed = int(rng.integers(1 << 30))
    sort_window = max(SORT_WINDOW, settings.batch_tokens // 16)
    batches = padded_batches(examples, tokens=settings.batch_tokens, epochs=1, seed=seed, pad_id=0, sort_window=sort_window)
    for index, batch in enumerate(batches):
        yield batch
        if index % 10 == 9:
            rows = max(1, settings.batch_tokens // _INDUCTION_LENGTH)
            yield induction.batch(rng, rows, _INDUCTION_LENGTH, RESERVED_IDS, vocab_size)


def _share_done(position: _Position, settings: PretrainParams) -> float:
    minutes = position.seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
    return max(position.tokens / settings.reading_tokens, minutes)


def _num_workers(settings: PretrainParams) -> int:
    if settings.num_workers is not None:
        return settings.num_workers
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors - 1) if torch.cuda.is_available() else min(1, processors - 1)

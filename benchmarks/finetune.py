"""Learning: `python -m benchmarks.finetune [--model FOLDER] [--steps N] [--rounds N]`, on AgentTraj of data/ (`agentevol collect`).

TokenizedDataset/s, all and with loss, of one and the same model over the same trajectories at 4,096 tokens a step:
- ours: agentevol.finetune's packed lines;
- bare: forward and backward of full rectangles (loss everywhere, no optimiser), rows as long as the trajectory that a mean token sits in;
- TRL's SFTTrainer, padded with rows of like lengths and packed (best-fit), where it is installed:
  `pip install trl` (1.16 was used; in a virtual environment of its own that sees this one's packages, it needs `datasets`).
They take turns, round by round. On a machine that is not quiet compare the processor seconds: one thread, OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.data.dataset import read_dataset
from agentevol.models import load_model, load_tokenizer
from agentevol.settings.schema import FinetuneParams
from agentevol.training.finetune import weighed
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention, pack_batches
from agentevol.training.precision import resolve
from agentevol.training.tokenized_dataset import tokenize_dataset
from benchmarks.results import record

ENVIRONMENTS, EACH = ("babyai", "maze", "textcraft", "wordle"), 80
SETTINGS = FinetuneParams()
Rows = list[tuple[TokenizedExample, float]]


@dataclass(slots=True)
class Meter:
    """What one contender has done so far."""

    tokens: int = 0
    learnt: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    started: tuple[float, float] = field(default=(0.0, 0.0))

    def __enter__(self) -> Meter:
        self.started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self.started[0]
        self.cpu += time.process_time() - self.started[1]


def ours(rows: Rows, model: Any) -> Callable[[int, Meter], None]:
    assert enable_packed_attention(model)
    optimizer = Optimizer(model, precision=SETTINGS.precision, weight_decay=SETTINGS.weight_decay, clip=SETTINGS.clip)
    plan = pack_batches([len(encoded.token_ids) for encoded, _ in rows], tokens=SETTINGS.batch_tokens, epochs=1e6, seed=0)

    def learn(steps: int, meter: Meter) -> None:
        for group in islice(plan, steps):
            with meter:
                line = PackedBatch.of([rows[i] for i in group])
                optimizer.step([line], 1e-4)
            meter.tokens, meter.learnt = meter.tokens + line.tokens, meter.learnt + line.trained_tokens

    return learn


def bare(rows: Rows, model: Any) -> Callable[[int, Meter], None]:
    lengths = [len(encoded.token_ids) for encoded, _ in rows]
    width = round(sum(length**2 for length in lengths) / sum(lengths) / 64) * 64
    ids = torch.tensor([token for encoded, _ in rows for token in encoded.token_ids])
    shape = max(1, round(SETTINGS.batch_tokens / width)), width
    half = resolve(SETTINGS.precision) == "bfloat16"

    def learn(steps: int, meter: Meter) -> None:
        model.train()
        for step in range(steps):
            batch = ids.roll(-step * shape[0] * width)[: shape[0] * width].view(shape)
            with meter, torch.autocast("cpu", torch.bfloat16, enabled=half):
                model(input_ids=batch, labels=batch, use_cache=False).loss.backward()
                model.zero_grad(set_to_none=True)
            meter.tokens, meter.learnt = meter.tokens + batch.numel(), meter.learnt + batch.numel()

    return learn


def trl(rows: Rows, model: Any, tokenizer: Any, packing: bool) -> Callable[[int, Meter], None]:
    """A trainer for each round, made outside the time; tokens are counted where it collates them."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    mean = sum(len(encoded.token_ids) for encoded, _ in rows) / len(rows)
    half = resolve(SETTINGS.precision) == "bfloat16"
    length = SETTINGS.max_tokens
    each = max(1, SETTINGS.batch_tokens // length) if packing else max(1, round(SETTINGS.batch_tokens / mean))

    class Clock(TrainerCallback):  # type: ignore[misc]
        """From the first step's beginning to the last one's end: starting a trainer is not its speed."""

        def __init__(self, meter: Meter) -> None:
            self.meter = meter

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.meter.started == (0.0, 0.0):
                self.meter.__enter__()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.meter.__exit__()
            self.meter.started = (0.0, 0.0)

    def batched(seed: int) -> Any:
        """Anew for each round. Unpacked, rows of like lengths are neighbours: as `group_by_length`, which starts with the longest."""
        order = [int(i) for i in np.random.default_rng(seed).permutation(len(rows))]
        if not packing:
            by_length = sorted(order, key=lambda i: len(rows[i][0].token_ids))
            groups = [by_length[start : start + each] for start in range(0, len(order), each)]
            order = [i for g in np.random.default_rng(seed).permutation(len(groups)) for i in groups[int(g)]]
        picked = [rows[i][0] for i in order]
        return Dataset.from_list(
            [
                {"input_ids": list(e.token_ids), "labels": [i if loss else -100 for i, loss in zip(e.token_ids, e.loss_mask, strict=True)]}
                for e in picked
            ]
        )

    def learn(steps: int, meter: Meter) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            config = SFTConfig(
                temporary,
                max_steps=steps,
                max_length=length,
                per_device_train_batch_size=each,
                packing=packing,
                train_sampling_strategy="random" if packing else "sequential",
                gradient_checkpointing=False,
                use_cpu=True,
                bf16=half,
                optim="adamw_torch_fused",
                learning_rate=1e-4,
                weight_decay=SETTINGS.weight_decay,
                max_grad_norm=SETTINGS.clip,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=meter.tokens,
            )
            trainer = SFTTrainer(model, args=config, train_dataset=batched(meter.tokens), processing_class=tokenizer)
            collate = trainer.data_collator

            def counted(examples: list[Any]) -> Any:
                batch = collate(examples)
                labels = batch["labels"]
                meter.tokens += sum(len(example["input_ids"]) for example in examples)
                meter.learnt += int((labels != -100).sum())
                return batch

            trainer.data_collator = counted
            trainer.add_callback(Clock(meter))
            trainer.train()

    return learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/base"))
    parser.add_argument("--steps", type=int, default=14, help="of each contender in a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--data", type=Path, default=Path("data/agenttraj"))
    parser.add_argument("--json", type=Path, help="a file that the ratios are added to (benchmarks.check)")
    given = parser.parse_args()
    taken: dict[str, int] = defaultdict(int)
    chosen = []
    for one in read_dataset(given.data):
        taken[one.env] += 1
        if one.env in ENVIRONMENTS and taken[one.env] <= EACH:
            chosen.append(one)
    rows, _ = weighed(tokenize_dataset(chosen, given.model), SETTINGS.max_tokens, "reward_weighted")
    contenders = {"ours": ours(rows, load_model(given.model)), "bare rectangles": bare(rows, load_model(given.model))}
    try:
        for name, packing in (("TRL, padded", False), ("TRL, packed", True)):
            contenders[name] = trl(rows, load_model(given.model), load_tokenizer(given.model), packing)
    except ImportError as error:
        print(f"TRL is left out: {error}")
    meters = {name: Meter() for name in contenders}
    for learn in contenders.values():
        learn(1, Meter())
    for _ in range(given.rounds):
        for name, learn in contenders.items():
            learn(given.steps, meters[name])
    record(given.json, "finetune", show(rows, given.model, meters))


def show(rows: Rows, model: Path, meters: dict[str, Meter]) -> dict[str, float]:
    tokens, learnt = sum(len(encoded.token_ids) for encoded, _ in rows), sum(sum(encoded.loss_mask) for encoded, _ in rows)
    print(f"{len(rows)} trajectories, {tokens} tokens, {learnt} learnt; {model}; {torch.get_num_threads()} threads")
    print(f"precision {resolve(SETTINGS.precision)}; busy with {os.getloadavg()[0]:.1f} processes")
    print(f"{'':16} {'tokens/s':>9} {'learnt/s':>9} {'per CPU s':>10} {'learnt':>8} {'ours by it':>11} {'by CPU s':>9}")

    def ahead(meter: Meter, kind: str, clock: str) -> float:
        our = meters["ours"]
        return float(getattr(our, kind) / getattr(our, clock) / (getattr(meter, kind) / getattr(meter, clock)))

    ratios = {}
    for name, meter in meters.items():
        kind = "tokens" if name.startswith("bare") else "learnt"  # a bare token is any token, TRL's goal is the ones with loss
        ratio, cpu = ahead(meter, kind, "wall"), ahead(meter, kind, "cpu")
        if meter is not meters["ours"]:
            ratios[f"ours by {name}"] = round(ratio, 3)
        rates = meter.tokens / meter.wall, meter.learnt / meter.wall, meter.tokens / meter.cpu, meter.learnt / meter.cpu
        print(f"{name:16} {rates[0]:9.0f} {rates[1]:9.0f} {rates[2]:10.0f} {rates[3]:8.0f} {ratio:11.2f} {cpu:9.2f}")
    return ratios


if __name__ == "__main__":
    main()

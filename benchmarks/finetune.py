"""Learning: `python -m benchmarks.finetune [--model FOLDER] [--steps N] [--rounds N]`, on AgentTraj of data/ (`agentevol collect`).

Tokens per second, all and those in the loss, of the same model over the same trajectories at 4,096 tokens per step:
- ours: the packed batches of agentevol.training;
- bare: forward and backward pass of full rectangles (loss on every token, no optimiser), as wide as the trajectory of a mean token is long;
- TRL's SFTTrainer, padded with rows of similar lengths and packed (best-fit), where it is installed:
  `pip install trl` (1.16 was used; in a virtual environment of its own that sees this one's packages, it needs `datasets`).
The contenders alternate, round by round. On a busy machine compare the CPU seconds, with one thread (OMP_NUM_THREADS=1).
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

from agentevol.data.dataset import read_dataset
from agentevol.models import load_model, load_tokenizer
from agentevol.settings.finetune import FinetuneParams
from agentevol.training.micro_batch import WeightedExample
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention, pack_batches
from agentevol.training.precision import resolve_precision
from agentevol.training.rules import load_rule
from agentevol.training.term_batch import usable_terms
from agentevol.training.tokenized_dataset import tokenize_dataset
from benchmarks.results import record

ENVIRONMENTS, TRAJECTORIES_EACH = ("babyai", "maze", "textcraft", "wordle"), 80
SETTINGS = FinetuneParams()
Examples = list[WeightedExample]


@dataclass(slots=True)
class Meter:
    """The work and the time of one contender so far."""

    tokens: int = 0
    trained: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    started: tuple[float, float] = field(default=(0.0, 0.0))

    def __enter__(self) -> Meter:
        self.started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self.started[0]
        self.cpu += time.process_time() - self.started[1]


def ours(examples: Examples, model: Any) -> Callable[[int, Meter], None]:
    assert enable_packed_attention(model)
    optimizer = Optimizer(model, precision=SETTINGS.precision, weight_decay=SETTINGS.weight_decay, max_grad_norm=SETTINGS.max_grad_norm)
    batches = pack_batches([len(example.token_ids) for example, _ in examples], tokens=SETTINGS.batch_tokens, epochs=1e6, seed=0)

    def train(steps: int, meter: Meter) -> None:
        for indices in islice(batches, steps):
            with meter:
                batch = PackedBatch.from_examples([examples[i] for i in indices])
                optimizer.step([batch], 1e-4)
            meter.tokens, meter.trained = meter.tokens + batch.tokens, meter.trained + batch.trained_tokens

    return train


def bare(examples: Examples, model: Any) -> Callable[[int, Meter], None]:
    lengths = [len(example.token_ids) for example, _ in examples]
    width = round(sum(length**2 for length in lengths) / sum(lengths) / 64) * 64
    ids = torch.tensor([token for example, _ in examples for token in example.token_ids])
    shape = max(1, round(SETTINGS.batch_tokens / width)), width
    bfloat16 = resolve_precision(SETTINGS.precision) == "bfloat16"

    def train(steps: int, meter: Meter) -> None:
        model.train()
        for step in range(steps):
            batch = ids.roll(-step * shape[0] * width)[: shape[0] * width].view(shape)
            with meter, torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                model(input_ids=batch, labels=batch, use_cache=False).loss.backward()
                model.zero_grad(set_to_none=True)
            meter.tokens, meter.trained = meter.tokens + batch.numel(), meter.trained + batch.numel()

    return train


def trl(examples: Examples, model: Any, tokenizer: Any, packing: bool) -> Callable[[int, Meter], None]:
    """A new trainer for each round, created outside the measured time; tokens are counted in its data collator."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    mean = sum(len(example.token_ids) for example, _ in examples) / len(examples)
    bfloat16 = resolve_precision(SETTINGS.precision) == "bfloat16"
    length = SETTINGS.max_tokens
    batch_size = max(1, SETTINGS.batch_tokens // length) if packing else max(1, round(SETTINGS.batch_tokens / mean))

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Measures from the beginning of the first step to the end of the last: the start of a trainer does not count."""

        def __init__(self, meter: Meter) -> None:
            self.meter = meter

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if self.meter.started == (0.0, 0.0):
                self.meter.__enter__()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.meter.__exit__()
            self.meter.started = (0.0, 0.0)

    def shuffled_dataset(seed: int) -> Any:
        """In a new order for each round. Unpacked, examples of similar lengths are neighbours, as with `group_by_length`."""
        order = [int(i) for i in np.random.default_rng(seed).permutation(len(examples))]
        if not packing:
            by_length = sorted(order, key=lambda i: len(examples[i][0].token_ids))
            groups = [by_length[start : start + batch_size] for start in range(0, len(order), batch_size)]
            order = [i for g in np.random.default_rng(seed).permutation(len(groups)) for i in groups[int(g)]]
        ordered = [examples[i][0] for i in order]
        return Dataset.from_list(
            [
                {"input_ids": list(e.token_ids), "labels": [i if loss else -100 for i, loss in zip(e.token_ids, e.loss_mask, strict=True)]}
                for e in ordered
            ]
        )

    def train(steps: int, meter: Meter) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            config = SFTConfig(
                temporary,
                max_steps=steps,
                max_length=length,
                per_device_train_batch_size=batch_size,
                packing=packing,
                train_sampling_strategy="random" if packing else "sequential",
                gradient_checkpointing=False,
                use_cpu=True,
                bf16=bfloat16,
                optim="adamw_torch_fused",
                learning_rate=1e-4,
                weight_decay=SETTINGS.weight_decay,
                max_grad_norm=SETTINGS.max_grad_norm,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=meter.tokens,
            )
            trainer = SFTTrainer(model, args=config, train_dataset=shuffled_dataset(meter.tokens), processing_class=tokenizer)
            collate = trainer.data_collator

            def counting_collator(features: list[Any]) -> Any:
                batch = collate(features)
                labels = batch["labels"]
                meter.tokens += sum(len(example["input_ids"]) for example in features)
                meter.trained += int((labels != -100).sum())
                return batch

            trainer.data_collator = counting_collator
            trainer.add_callback(Clock(meter))
            trainer.train()

    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/base"))
    parser.add_argument("--steps", type=int, default=14, help="of each contender in a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--data", type=Path, default=Path("data/agenttraj"))
    parser.add_argument("--json", type=Path, help="a file that the ratios are added to (benchmarks.check)")
    arguments = parser.parse_args()
    counts: dict[str, int] = defaultdict(int)
    trajectories = []
    for trajectory in read_dataset(arguments.data):
        counts[trajectory.env] += 1
        if trajectory.env in ENVIRONMENTS and counts[trajectory.env] <= TRAJECTORIES_EACH:
            trajectories.append(trajectory)
    dataset = tokenize_dataset(trajectories, arguments.model)
    terms, _ = usable_terms(load_rule("reward_weighted"), dataset, SETTINGS.max_tokens)
    examples = [(dataset.examples[term.episodes[0]], term.weight) for term in terms]
    contenders = {"ours": ours(examples, load_model(arguments.model)), "bare rectangles": bare(examples, load_model(arguments.model))}
    try:
        for name, packing in (("TRL, padded", False), ("TRL, packed", True)):
            contenders[name] = trl(examples, load_model(arguments.model), load_tokenizer(arguments.model), packing)
    except ImportError as error:
        print(f"TRL is left out: {error}")
    meters = {name: Meter() for name in contenders}
    for train in contenders.values():
        train(1, Meter())
    for _ in range(arguments.rounds):
        for name, train in contenders.items():
            train(arguments.steps, meters[name])
    record(arguments.json, "finetune", show(examples, arguments.model, meters))


def show(examples: Examples, model: Path, meters: dict[str, Meter]) -> dict[str, float]:
    tokens, trained = sum(len(example.token_ids) for example, _ in examples), sum(sum(example.loss_mask) for example, _ in examples)
    print(f"{len(examples)} trajectories, {tokens} tokens, {trained} in the loss; {model}; {torch.get_num_threads()} threads")
    print(f"precision {resolve_precision(SETTINGS.precision)}; load {os.getloadavg()[0]:.1f}")
    print(f"{'':16} {'tokens/s':>9} {'trained/s':>9} {'per CPU s':>10} {'trained':>8} {'ours by it':>11} {'by CPU s':>9}")

    def ratio_to(meter: Meter, kind: str, clock: str) -> float:
        ours = meters["ours"]
        return float(getattr(ours, kind) / getattr(ours, clock) / (getattr(meter, kind) / getattr(meter, clock)))

    ratios = {}
    for name, meter in meters.items():
        kind = "tokens" if name.startswith("bare") else "trained"  # the bare passes have a loss on every token
        ratio, cpu = ratio_to(meter, kind, "wall"), ratio_to(meter, kind, "cpu")
        if meter is not meters["ours"]:
            ratios[f"ours by {name}"] = round(ratio, 3)
        rates = meter.tokens / meter.wall, meter.trained / meter.wall, meter.tokens / meter.cpu, meter.trained / meter.cpu
        print(f"{name:16} {rates[0]:9.0f} {rates[1]:9.0f} {rates[2]:10.0f} {rates[3]:8.0f} {ratio:11.2f} {cpu:9.2f}")
    return ratios


if __name__ == "__main__":
    main()

"""The loop on a real model, small enough for two minutes on a GPU: `--model FOLDER`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.rollout import RolloutParams
from benchmarks.real_loop import Sizes, run

ENVIRONMENTS = ("babyai", "maze", "textcraft", "wordle")


def measure(model: Path, folder: Path, *, dry_run: bool) -> dict[str, Any]:
    """The scores of zero-shot, BC and iteration 1, and the seconds of every step. Steps that are done in `folder` are not repeated."""
    start, figures = time.perf_counter(), {}

    def report(line: dict[str, Any]) -> None:
        name = line.pop("step")
        if name.startswith("score "):
            figures[name] = line["overall"]
        elif "seconds" in line:
            figures[f"{name}, s"] = line["seconds"]

    run(model, folder, sizes(dry_run), report)
    return {**figures, "all, s": round(time.perf_counter() - start, 1)}


def sizes(dry_run: bool) -> Sizes:
    rollout = RolloutParams(concurrency=64, num_workers=1, max_new_tokens=64, context_length=1536)
    finetune = FinetuneParams(learning_rate=2e-5, batch_tokens=16_384, max_tokens=1536, checkpoint_minutes=None)
    if dry_run:
        rollout = rollout.model_copy(update={"concurrency": 4, "max_new_tokens": 4, "context_length": 1024})
        finetune = finetune.model_copy(update={"batch_tokens": 1024})
        return Sizes(("maze", "wordle"), train=2, explore=2, evaluate=1, rollout=rollout, finetune=finetune, epochs=1)
    return Sizes(ENVIRONMENTS, train=60, explore=60, evaluate=25, rollout=rollout, finetune=finetune, epochs=2)

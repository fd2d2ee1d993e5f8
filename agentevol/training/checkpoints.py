"""How far a training is, kept on the disk, so that one that was killed goes on where it was and ends with the same weights.

Invariant: a checkpoint holds everything that the rest of a training depends on (learnt weights, AdamW's moments, the random state, the
loss curve), lies in a folder named by what is trained, is written whole or not at all, and holds safetensors and JSON only.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from agentevol.data.artifact_folder import atomic_folder, is_complete, write_manifest
from agentevol.training.optimizer import Optimizer
from agentevol.training.schedule import Curve


@dataclass(slots=True)
class Checkpoint:
    """The place `folder` for one training; written at most every `minutes`."""

    folder: Path
    minutes: float
    written: float = 0.0

    def __post_init__(self) -> None:
        self.written = time.monotonic()

    def resume(self, optimizer: Optimizer, curve: Curve) -> int:
        """Put the training back to where the checkpoint is; returns the steps done, 0 where there is none."""
        if not is_complete(self.folder):
            return 0
        told = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
        kept = load_file(self.folder / "state.safetensors")
        with torch.no_grad():
            for name, parameter in _learnt(optimizer).items():
                parameter.copy_(kept[f"weight/{name}"])
                optimizer.adamw.state[parameter].update(
                    {field: kept[f"{field}/{name}"].to(parameter.device) for field in _fields(kept, name)}
                )
        torch.set_rng_state(kept["random"])
        if "random, GPU" in kept:
            torch.cuda.set_rng_state(kept["random, GPU"])
        curve.points, curve.recent = told["points"], told["recent"]
        return int(told["step"])

    def offer(self, step: int, optimizer: Optimizer, curve: Curve) -> None:
        """Write one if the last is old enough. Called by every process; the first one writes, since all hold the same."""
        if not optimizer.accelerator.is_main_process or time.monotonic() - self.written < 60 * self.minutes:
            return
        state = {"random": torch.get_rng_state()}
        if optimizer.accelerator.device.type == "cuda":  # a model with dropout draws there
            state["random, GPU"] = torch.cuda.get_rng_state()
        for name, parameter in _learnt(optimizer).items():
            state[f"weight/{name}"] = parameter.detach().cpu().contiguous()
            state |= {f"{field}/{name}": value.cpu() for field, value in optimizer.adamw.state[parameter].items()}
        with atomic_folder(self.folder) as out:
            save_file(state, out / "state.safetensors")
            (out / "progress.json").write_text(json.dumps({"step": step, "points": curve.points, "recent": curve.recent}))
            write_manifest(out, "checkpoint")
        self.written = time.monotonic()


def _learnt(optimizer: Optimizer) -> dict[str, Any]:
    return {name: parameter for name, parameter in optimizer.unwrapped().named_parameters() if parameter.requires_grad}


def _fields(kept: dict[str, torch.Tensor], name: str) -> list[str]:
    return [key.removesuffix(f"/{name}") for key in kept if key.endswith(f"/{name}") and not key.startswith("weight/")]

"""Checkpoints of a training: a killed training continues from the last one and ends with the same weights.

Invariant: a checkpoint holds everything that the rest of the training depends on (trained weights, AdamW's moments, random state, loss
curve), lies in a folder that is named by the training's inputs, is written whole or not at all, and holds only safetensors and JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from agentevol.data.artifact_folder import atomic_folder, is_complete, write_manifest
from agentevol.training.optimizer import Optimizer
from agentevol.training.schedule import LossCurve


@dataclass(slots=True)
class Checkpoint:
    """The checkpoint of one training in `folder`, written at most once in `interval_minutes`."""

    folder: Path
    interval_minutes: float
    last_written: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    """Further JSON values that belong to the training's state: written with it, and there again after `restore`."""

    def __post_init__(self) -> None:
        self.last_written = time.monotonic()

    def restore(self, optimizer: Optimizer, curve: LossCurve) -> int:
        """Load the checkpoint into the training; returns the number of steps it has done, 0 without a usable one."""
        if not is_complete(self.folder):
            return 0
        progress = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
        tensors = load_file(self.folder / "state.safetensors")
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point()):
            return 0  # weights that are not finite cannot recover: start again
        with torch.no_grad():
            for name, parameter in _trainable_parameters(optimizer).items():
                parameter.copy_(tensors[f"weight/{name}"])
                optimizer.adamw.state[parameter].update(
                    {field: tensors[f"{field}/{name}"].to(parameter.device) for field in _state_fields(tensors, name)}
                )
        torch.set_rng_state(tensors["random"])
        if "random, GPU" in tensors:
            torch.cuda.set_rng_state(tensors["random, GPU"])
        curve.points, curve.recent = progress["points"], progress["recent"]
        self.facts = progress.get("facts", {})
        return int(progress["step"])

    def save_if_due(self, step: int, optimizer: Optimizer, curve: LossCurve) -> None:
        """Write a checkpoint after `step` steps if the last one is old enough. Every process calls this; the main one writes."""
        if optimizer.accelerator.is_main_process and time.monotonic() - self.last_written >= 60 * self.interval_minutes:
            self.save(step, optimizer, curve)

    def save(self, step: int, optimizer: Optimizer, curve: LossCurve) -> None:
        """Write a checkpoint after `step` steps. Only the main process may call this."""
        tensors = {"random": torch.get_rng_state()}
        if optimizer.accelerator.device.type == "cuda":  # a model with dropout uses the GPU's random state
            tensors["random, GPU"] = torch.cuda.get_rng_state()
        for name, parameter in _trainable_parameters(optimizer).items():
            tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
            tensors |= {f"{field}/{name}": value.cpu() for field, value in optimizer.adamw.state[parameter].items()}
        with atomic_folder(self.folder) as folder:
            save_file(tensors, folder / "state.safetensors")
            progress = {"step": step, "points": curve.points, "recent": curve.recent, "facts": self.facts}
            (folder / "progress.json").write_text(json.dumps(progress))
            write_manifest(folder, "checkpoint")
        self.last_written = time.monotonic()


def _trainable_parameters(optimizer: Optimizer) -> dict[str, Any]:
    return {name: parameter for name, parameter in optimizer.unwrapped_model().named_parameters() if parameter.requires_grad}


def _state_fields(tensors: dict[str, torch.Tensor], name: str) -> list[str]:
    """The fields of AdamW's state that the checkpoint holds for the parameter `name`, e.g. exp_avg."""
    return [key.removesuffix(f"/{name}") for key in tensors if key.endswith(f"/{name}") and not key.startswith("weight/")]

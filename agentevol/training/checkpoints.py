"""Checkpoints of a training: a killed training continues from the last one and ends with the same weights.

Invariant: a checkpoint holds everything that the rest of the training depends on (trained weights, AdamW's moments, random state, loss
curve), lies in a folder that is named by the training's inputs, is written whole or not at all, and holds only safetensors and JSON. Where
processes share a model (FSDP) each has a file of its own part; the number of processes is one of the inputs.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from agentevol.data.artifact_folder import MANIFEST, VISIBLE_WITHIN, atomic_folder, is_complete, sha256_file, write_manifest
from agentevol.training.optimizer import Optimizer
from agentevol.training.schedule import LossCurve

_SMALL = 4096  # numbers


class CheckpointNotShared(RuntimeError):
    """The processes of a training do not see the same checkpoint."""


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

    def restore(self, optimizer: Optimizer, curve: LossCurve | None = None) -> int:
        """Load the checkpoint into the training and its curve; returns the number of steps it has done, 0 without a usable one."""
        if not self._is_usable():
            return 0
        progress = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
        tensors = load_file(self.folder / _state_file(optimizer))
        is_finite = all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())
        if not _every_process(optimizer, is_finite):
            return 0  # weights that are not finite cannot recover: start again
        with torch.no_grad():
            for name, parameter in optimizer.trained_tensors().items():
                _local(parameter).copy_(tensors[f"weight/{name}"])
                optimizer.adamw.state[parameter].update(
                    {field: _unpacked(tensors[f"{field}/{name}"], field, parameter) for field in _state_fields(tensors, name)}
                )
        if optimizer.masters is not None:
            optimizer.masters.copy_to_model()
        torch.set_rng_state(tensors["random"])
        if "random, GPU" in tensors:
            torch.cuda.set_rng_state(tensors["random, GPU"])
        if curve is not None:
            curve.points, curve.recent = progress["points"], progress["recent"]
        self.facts = progress.get("facts", {})
        return int(progress["step"])

    def _is_usable(self) -> bool:
        """Whether there is a whole checkpoint. Processes on several machines follow the first: they wait until they see what it sees.

        Raises CheckpointNotShared.
        """
        if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
            return is_complete(self.folder)
        seen = [self._identity()]
        torch.distributed.broadcast_object_list(seen)
        deadline = time.monotonic() + VISIBLE_WITHIN
        while seen[0] is not None and self._identity() != seen[0]:
            if time.monotonic() > deadline:
                raise CheckpointNotShared(
                    f"{self.folder}: another process of the training sees this checkpoint, but this one does not after"
                    f" {VISIBLE_WITHIN:.0f} s; all machines of a training need the same folder, on a shared file system"
                )
            time.sleep(0.5)
        return seen[0] is not None

    def _identity(self) -> str | None:
        """The digest of the checkpoint's manifest; None without a whole checkpoint."""
        return sha256_file(self.folder / MANIFEST) if is_complete(self.folder) else None

    def save_if_due(self, step: int, optimizer: Optimizer, curve: LossCurve | None = None) -> None:
        """Write a checkpoint after `step` steps if the last one is old enough. Every process calls this; the main one writes."""
        is_due = time.monotonic() - self.last_written >= 60 * self.interval_minutes
        if optimizer.is_sharded:
            is_due = _every_process(optimizer, is_due)  # they write together or not at all
        if is_due and (optimizer.is_sharded or optimizer.accelerator.is_main_process):
            self.save(step, optimizer, curve)

    def save(self, step: int, optimizer: Optimizer, curve: LossCurve | None = None) -> None:
        """Write a checkpoint after `step` steps. Only the main process may call this; where processes share a model, all of them do."""
        tensors = {"random": torch.get_rng_state()}
        if optimizer.accelerator.device.type == "cuda":  # a model with dropout uses the GPU's random state
            tensors["random, GPU"] = torch.cuda.get_rng_state()
        for name, parameter in optimizer.trained_tensors().items():
            tensors[f"weight/{name}"] = _local(parameter).detach().cpu().contiguous()
            tensors |= {f"{field}/{name}": _packed(value) for field, value in optimizer.adamw.state[parameter].items()}
        parts = self.folder.with_name(f".{self.folder.name}.parts")  # on a file system that all processes share
        if optimizer.is_sharded:
            parts.mkdir(parents=True, exist_ok=True)
            save_file(tensors, parts / _state_file(optimizer))
            optimizer.accelerator.wait_for_everyone()
        if optimizer.accelerator.is_main_process:
            with atomic_folder(self.folder) as folder:
                if optimizer.is_sharded:
                    for part in parts.glob("*.safetensors"):
                        shutil.move(part, folder / part.name)
                    parts.rmdir()
                else:
                    save_file(tensors, folder / _state_file(optimizer))
                points, recent = (curve.points, curve.recent) if curve is not None else ([], [])
                progress = {"step": step, "points": points, "recent": recent, "facts": self.facts}
                (folder / "progress.json").write_text(json.dumps(progress))
                write_manifest(folder, "checkpoint")
        if optimizer.is_sharded:
            optimizer.accelerator.wait_for_everyone()
        self.last_written = time.monotonic()


def _state_file(optimizer: Optimizer) -> str:
    return f"state-{optimizer.accelerator.process_index}.safetensors" if optimizer.is_sharded else "state.safetensors"


def _every_process(optimizer: Optimizer, value: bool) -> bool:
    """Whether it is true in all processes that share the model."""
    if not optimizer.is_sharded:
        return value
    flag = torch.tensor([int(value)], device=optimizer.accelerator.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
    return bool(flag.item())


def _local(tensor: Any) -> torch.Tensor:
    """This process's part of a tensor that processes share; else the tensor."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()  # type: ignore[no-untyped-call]
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _packed(value: Any) -> torch.Tensor:
    """A field of the optimizer's state; bitsandbytes counts steps in a number and shares small tables between parameters."""
    if not isinstance(value, torch.Tensor):
        return torch.tensor(value)
    tensor = _local(value).cpu()
    return tensor.clone() if tensor.numel() <= _SMALL else tensor


def _unpacked(value: torch.Tensor, field: str, parameter: Any) -> Any:
    if field == "step":
        # On the weight's device, where the fused AdamW of a GPU reads it.
        return value.to(parameter.device) if value.is_floating_point() else int(value)
    if isinstance(parameter, DTensor):
        return DTensor.from_local(
            value.to(parameter.device), parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
        )
    return value.to(parameter.device)


def _state_fields(tensors: dict[str, torch.Tensor], name: str) -> list[str]:
    """The fields of AdamW's state that the checkpoint holds for the parameter `name`, e.g. exp_avg."""
    return [key.removesuffix(f"/{name}") for key in tensors if key.endswith(f"/{name}") and not key.startswith("weight/")]

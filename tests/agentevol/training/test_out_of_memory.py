"""Where a GPU's memory is too small, the error says what did not fit and what to change; nothing is trained twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agentevol.models import model_digest
from agentevol.training import finetune as finetune_module
from agentevol.training.finetune import OutOfMemory, finetune
from agentevol.training.packing import PackedBatch
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params

MESSAGE = "CUDA out of memory. Tried to allocate 3 GiB.\nmore lines"


def test_moments_that_do_not_fit_end_the_training_with_a_remedy(
    small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def step(self: torch.optim.AdamW, closure: Any = None) -> None:
        steps.append(1)
        raise torch.OutOfMemoryError(MESSAGE)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(OutOfMemory, match=r"AdamW's update does not fit \(CUDA out of memory\. Tried to allocate 3 GiB\.\); set finetune"):
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / "policy", settings=finetune_params(), epochs=1, seed=0)
    assert len(steps) == 1, "weights may be updated already, so the step is not done again"


def test_a_model_that_does_not_fit_has_the_same_remedy(
    small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def optimizer(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError(MESSAGE)

    monkeypatch.setattr(finetune_module, "Optimizer", optimizer)
    with pytest.raises(OutOfMemory, match=r"the model does not fit .*finetune\.lora_rank"):
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / "policy", settings=finetune_params(), epochs=1, seed=0)


def test_a_continued_training_keeps_the_size_that_fitted(
    small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the steps after a restart would add up their gradients in another order than in an uninterrupted training."""
    nll, limit = PackedBatch.loss_sum, [300]

    def limited(batch: PackedBatch, model: Any, device: torch.device) -> Tensor:
        if batch.tokens > limit[0]:
            raise torch.OutOfMemoryError(MESSAGE)
        return nll(batch, model, device)

    def train(name: str, stop_at: int = 0) -> dict[str, Any]:
        def progress(step: int, steps: int, loss: float) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        options: dict[str, Any] = {"settings": finetune_params(checkpoint_minutes=0), "epochs": 6, "seed": 0, "progress": progress}
        work = tmp_path / ("alone" if name == "alone" else "work")
        return finetune(small_models["llama"], TRAJECTORIES, tmp_path / name / "policy", work_dir=work, **options)

    monkeypatch.setattr(PackedBatch, "loss_sum", limited)
    alone = train("alone")
    with pytest.raises(KeyboardInterrupt):
        train("killed", stop_at=4)
    limit[0] = 10**6  # the next machine has more memory
    assert train("killed")["micro_batch_tokens"] == alone["micro_batch_tokens"] < 300
    assert model_digest(tmp_path / "killed" / "policy") == model_digest(tmp_path / "alone" / "policy")

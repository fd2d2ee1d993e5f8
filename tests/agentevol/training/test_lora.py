"""LoRA: a training with adapters ends with a plain model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from agentevol.models import load_model
from agentevol.training.finetune import finetune
from agentevol.training.optimizer import Optimizer
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses


def test_weights_without_adapters_stay_as_they_are_where_training_computes_in_16_bits(
    small_models: dict[str, Path], counting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    monkeypatch.setattr("agentevol.training.finetune.Optimizer", partial(Optimizer, master_weights=True))  # as on a GPU
    settings = finetune_params(lora_rank=2, learning_rate=1e-4, precision="bfloat16")
    finetune(small_models["llama"], TRAJECTORIES[:1], tmp_path, settings=settings, max_steps=2, seed=0)
    before, after = (dict(load_model(folder).named_parameters()) for folder in (small_models["llama"], tmp_path))
    assert all(after[name].dtype == torch.float32 for name in after)
    for name in before:
        change = (after[name] - before[name]).detach()
        if "proj" in name:
            assert 0 < float(change.norm()) < 1e-3 * float(before[name].detach().norm())
            assert torch.linalg.matrix_rank(change, rtol=1e-2) <= 2, "nothing but the adapters' change"
        else:
            assert not change.any(), name


@pytest.mark.slow
def test_adapters_are_merged_into_a_plain_model(small_models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    settings = finetune_params(lora_rank=4, learning_rate=1e-2)
    report = finetune(small_models["llama"], TRAJECTORIES, tmp_path, settings=settings, epochs=30, seed=0)
    assert losses(report)[-1] < 0.8 * losses(report)[0]
    before, after = (dict(load_model(folder).named_parameters()) for folder in (small_models["llama"], tmp_path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name for name in changed)

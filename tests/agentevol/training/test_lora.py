"""LoRA: a training with adapters ends with a plain model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentevol.models import load_model
from agentevol.training.finetune import finetune
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses


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

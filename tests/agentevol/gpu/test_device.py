"""Training and playing on the device of this machine: a GPU where there is one, and the same code on a CPU otherwise.

`python -m benchmarks.gpu` runs these tests on a GPU. Invariant: no test here needs a particular device, unless it is marked so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.finetune import finetune
from agentevol.training.gpu_attention import kernel_works
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.padding import PaddedBatch
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _examples() -> list[tuple[TokenizedExample, float]]:
    torch.manual_seed(0)
    return [(TokenizedExample(torch.randint(2, 200, (n,)).tolist(), [i % 3 > 0 for i in range(n)]), 1.0) for n in (40, 7, 300)]


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_a_packed_step_has_the_loss_of_padded_rows(family: str, small_models: dict[str, Path]) -> None:
    losses = []
    for packed in (True, False):
        model = load_model(small_models[family]).to(DEVICE)
        if packed:
            assert enable_packed_attention(model)
        batch = PackedBatch.from_examples(_examples()) if packed else PaddedBatch.from_examples(_examples(), 0)
        optimizer = Optimizer(model, precision="bfloat16", weight_decay=0.0, max_grad_norm=1.0)
        losses.append([optimizer.step([batch], 1e-2) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=3e-2)
    assert losses[0][2] < losses[0][0]


def _optimizer(folder: Path, *, gradient_checkpointing: bool = False, master_weights: bool | None = None) -> Optimizer:
    model = load_model(folder)
    assert enable_packed_attention(model)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Optimizer(model, precision="bfloat16", weight_decay=0.0, max_grad_norm=1.0, master_weights=master_weights)


def _losses(optimizer: Optimizer, steps: int) -> list[float]:
    return [optimizer.step([PackedBatch.from_examples(_examples())], 1e-2) for _ in range(steps)]


@pytest.mark.parametrize("master_weights", [True, False], ids=["masters", "autocast"])
def test_layers_that_are_computed_again_learn_the_same(master_weights: bool, small_models: dict[str, Path]) -> None:
    """Also where the first pass of a process is one of such layers, as with FSDP."""
    kernel_works.cache_clear()
    again = _losses(_optimizer(small_models["llama"], gradient_checkpointing=True, master_weights=master_weights), 3)
    kept = _losses(_optimizer(small_models["llama"], master_weights=master_weights), 3)
    assert again == pytest.approx(kept, rel=1e-3)


def test_a_training_continues_from_its_checkpoint(small_models: dict[str, Path], tmp_path: Path) -> None:
    whole, killed, resumed = (_optimizer(small_models["llama"]) for _ in range(3))
    expected = _losses(whole, 4)
    _losses(killed, 2)
    Checkpoint(tmp_path / "checkpoint", 0.0).save(2, killed)
    assert Checkpoint(tmp_path / "checkpoint", 0.0).restore(resumed) == 2
    assert _losses(resumed, 2) == pytest.approx(expected[2:], rel=1e-3)


@pytest.mark.slow
def test_adapters_are_trained_and_merged(small_models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    settings = finetune_params(lora_rank=4, learning_rate=3e-2, precision="bfloat16", gradient_checkpointing=True)
    report = finetune(small_models["llama"], TRAJECTORIES, tmp_path, settings=settings, max_steps=8, seed=0)
    assert losses(report)[-1] < losses(report)[0]
    assert load_model(tmp_path).state_dict().keys() == load_model(small_models["llama"]).state_dict().keys()

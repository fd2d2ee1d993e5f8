"""Training and playing on the device of this machine: a GPU where there is one, and the same code on a CPU otherwise.

`python -m benchmarks.gpu` runs these tests on a GPU. Invariant: no test here needs a particular device, unless it is marked so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.padding import PaddedBatch

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

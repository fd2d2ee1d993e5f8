"""The estimate of the training time: its operations are those that PyTorch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from agentevol.preflight.resources import trained_size
from agentevol.training.memory import ModelSize
from agentevol.training.speed import measure_matrix_rate, operations_per_token, seconds_per_token

TOKENS = 8  # so few that the attention scores hardly count


def tiny_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=500
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_operations_are_those_that_pytorch_counts(checkpointing: bool) -> None:
    model = tiny_model()
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.zeros(1, TOKENS, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    estimated = TOKENS * operations_per_token(ModelSize.of(model), gradient_checkpointing=checkpointing, trained_share=1.0)
    assert estimated == pytest.approx(counter.get_total_flops(), rel=0.08)  # PyTorch ends a recomputation early


def test_adapters_cost_two_thirds_and_a_slower_machine_takes_longer() -> None:
    size = ModelSize.of(tiny_model())
    adapters = trained_size(size, 2)
    assert operations_per_token(adapters) == pytest.approx(2 / 3 * operations_per_token(size))
    assert seconds_per_token(size, 1e9, "cpu") == pytest.approx(10 * seconds_per_token(size, 1e10, "cpu"))
    assert seconds_per_token(size, 1e9, "cpu") < seconds_per_token(size, 1e9, "cpu", gradient_checkpointing=True)


def test_the_matrix_rate_of_this_machine_is_plausible() -> None:
    assert 1e8 < measure_matrix_rate(torch.device("cpu"), torch.float32) < 1e14

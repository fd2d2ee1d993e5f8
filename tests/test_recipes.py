"""The parameter files for language models: valid, gentle enough for pretrained weights, and with the memory that the estimate gives."""

from __future__ import annotations

import re

import pytest
import torch

from agentevol.settings.load import load_params
from agentevol.training.memory import GIB, ModelSize, estimate_training, kv_cache_bytes_per_token
from agentevol.training.speed import seconds_per_token
from tests import ROOT

QWEN = ModelSize(494_032_768, 494_032_768, 24, 896, 4864, 14 * 64, 2 * 64, 151_936)
ADAPTERS = 32 * 64 * (4 * 2 * 4096 + 3 * (4096 + 11_008))
LLAMA = ModelSize(6_738_415_616 + ADAPTERS, ADAPTERS, 32, 4096, 11_008, 4096, 4096, 32_000)


@pytest.mark.parametrize(("name", "size", "fixed"), [("params-llm.yaml", QWEN, [8.3]), ("params-7b.yaml", LLAMA, [12.6, 2.7])])
def test_a_recipe_states_its_estimated_memory(name: str, size: ModelSize, fixed: list[float]) -> None:
    params, text = load_params(ROOT / name), (ROOT / name).read_text()
    assert params.finetune.learning_rate <= 1e-4
    assert params.finetune.max_tokens >= params.rollout.context_length
    memory = estimate_training(size, bfloat16=True, gradient_checkpointing=params.finetune.gradient_checkpointing)
    assert memory.fixed / GIB == pytest.approx(sum(fixed), abs=0.15)
    tokens = params.finetune.micro_batch_tokens or 0
    activations = (memory.total(tokens, tokens) - memory.fixed) / GIB
    stated = [float(value) for value in re.findall(r"([0-9.]+) GiB", text)]
    assert all(any(value == pytest.approx(each, abs=0.06) for each in stated) for value in (*fixed, activations)), (stated, activations)
    kib = kv_cache_bytes_per_token(size) / 1024
    assert f"{kib:.0f} KiB" in text
    assert "Estimated memory, not measured" in text


@pytest.mark.parametrize(("name", "size", "tflops"), [("params-llm.yaml", QWEN, 150), ("params-7b.yaml", LLAMA, 700)])
def test_a_recipe_states_its_estimated_time(name: str, size: ModelSize, tflops: int) -> None:
    seconds = seconds_per_token(
        size, tflops * 1e12, "cuda", gradient_checkpointing=load_params(ROOT / name).finetune.gradient_checkpointing
    )
    text = (ROOT / name).read_text()
    assert f"takes {1e6 * seconds:.0f} s for a million tokens if the GPU multiplies matrices at {tflops} TFLOP/s" in text
    assert "Estimated time, not measured" in text


def test_the_whole_model_on_eight_gpus_fits() -> None:
    size = ModelSize(6_738_415_616, 6_738_415_616, 32, 4096, 11_008, 4096, 4096, 32_000)
    memory = estimate_training(size, bfloat16=True, gradient_checkpointing=True, num_shards=8)
    assert memory.fixed / GIB == pytest.approx(14.5, abs=0.05)
    assert "with FSDP, 14.5 GiB on each of 8 GPUs" in (ROOT / "params-7b.yaml").read_text()
    kept = estimate_training(size, bfloat16=True, num_shards=8)
    assert (kept.fixed - memory.fixed) / GIB > 12, "without checkpointing each GPU keeps the cast weights of all layers"


def test_the_size_of_a_model_is_known_without_its_weights() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11_008, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, vocab_size=32_000
    )
    with torch.device("meta"):
        size = ModelSize.of(LlamaForCausalLM(config))
    assert size == ModelSize(6_738_415_616, 6_738_415_616, 32, 4096, 11_008, 4096, 4096, 32_000)

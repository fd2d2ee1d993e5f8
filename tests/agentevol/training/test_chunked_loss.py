"""The loss in chunks: loss and gradients of all logits at once, no more than a chunk of logits, a named reason if impossible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model
from agentevol.training import memory
from agentevol.training.finetune import finetune
from agentevol.training.memory import GIB, ModelSize, estimate_training
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.padding import PaddedBatch
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses

CPU = torch.device("cpu")
SHAPE = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "pad_token_id": 0}
CHUNK = 16  # tokens


def _examples() -> list[tuple[TokenizedExample, float]]:
    torch.manual_seed(0)
    return [
        (TokenizedExample(torch.randint(2, 200, (length,)).tolist(), [i % 3 > 0 for i in range(length)]), weight)
        for length, weight in ((40, 1.0), (7, 0.25), (53, 0.5))
    ]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the tokens of a chunk, for a vocabulary of the size given."""
    return lambda vocabulary: monkeypatch.setattr(memory, "CHUNK_BYTES", 4 * vocabulary * CHUNK)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of all logits of which a loss is computed."""
    seen: list[tuple[int, ...]] = []
    cross_entropy = functional.cross_entropy

    def record(logits: Tensor, *inputs: Any, **options: Any) -> Tensor:
        seen.append(tuple(logits.shape))
        return cross_entropy(logits, *inputs, **options)

    monkeypatch.setattr(functional, "cross_entropy", record)
    return seen


def _loss_and_gradients(model: Any, batch: PackedBatch | PaddedBatch) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    loss = batch.loss_sum(model, CPU) / batch.trained_tokens
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_equal(ours: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]]) -> None:
    assert ours[0] == pytest.approx(expected[0], rel=1e-5)
    assert ours[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_log_probabilities_of_a_loss_that_is_not_linear_in_them_have_the_same_gradients(
    small_models: dict[str, Path], chunks: Callable[[int], None], shapes: list[tuple[int, ...]]
) -> None:
    model = load_model(small_models["llama"])
    assert enable_packed_attention(model)
    batch = PackedBatch.from_examples(_examples())

    def loss_and_gradients() -> tuple[float, dict[str, Tensor]]:
        model.zero_grad()
        loss = (batch.logprobs(model, CPU) / 10).exp().sum() ** 2
        loss.backward()
        return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = loss_and_gradients()
    chunks(model.config.vocab_size)
    shapes.clear()
    _assert_equal(loss_and_gradients(), expected)
    assert max(rows for rows, _ in shapes) <= CHUNK


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_loss_and_gradients_are_those_of_all_logits_at_once(
    family: str, packed: bool, small_models: dict[str, Path], chunks: Callable[[int], None], shapes: list[tuple[int, ...]]
) -> None:
    model = load_model(small_models[family])
    assert not packed or enable_packed_attention(model)
    batch = PackedBatch.from_examples(_examples()) if packed else PaddedBatch.from_examples(_examples(), 0)
    expected = _loss_and_gradients(model, batch)
    vocabulary = model.config.vocab_size
    assert shapes == [(batch.trained_tokens, vocabulary)]
    chunks(vocabulary)
    shapes.clear()
    _assert_equal(_loss_and_gradients(model, batch), expected)
    assert [rows for rows, _ in shapes] == [16, 16, 16, 16, batch.trained_tokens - 64]
    with torch.no_grad():
        assert float(batch.loss_sum(model, CPU)) / batch.trained_tokens == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        (Gemma2ForCausalLM, Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=3.0)),
        (CohereForCausalLM, CohereConfig(**SHAPE, logit_scale=0.0625)),
        (GraniteForCausalLM, GraniteConfig(**SHAPE, logits_scaling=8.0)),
    ],
    ids=["soft cap", "scale", "divisor"],
)
def test_what_an_architecture_does_to_its_logits_stays(
    architecture: Any, config: Any, chunks: Callable[[int], None], shapes: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    model = architecture(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # logits that a cap changes
    batch = PaddedBatch.from_examples(_examples(), 0)
    expected = _loss_and_gradients(model, batch)
    chunks(300)
    shapes.clear()
    _assert_equal(_loss_and_gradients(model, batch), expected)
    assert max(rows for rows, _ in shapes) == CHUNK


def test_weights_of_16_bits_and_autocast(small_models: dict[str, Path], chunks: Callable[[int], None]) -> None:
    batch = PaddedBatch.from_examples(_examples(), 0)
    for dtype, autocast in ((torch.bfloat16, False), (torch.float32, True)):
        model = load_model(small_models["llama"]).to(dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), pytest.MonkeyPatch.context() as patch:
            expected = _loss_and_gradients(model, batch)
            patch.setattr(memory, "CHUNK_BYTES", 4 * model.config.vocab_size * CHUNK)
            loss, gradients = _loss_and_gradients(model, batch)
        assert loss == pytest.approx(expected[0], rel=1e-3)
        for name, gradient in expected[1].items():
            assert gradients[name].dtype == dtype
            assert float((gradients[name] - gradient).float().norm()) < 2e-2 * float(gradient.float().norm()), name


def test_frozen_weights_get_no_gradient(small_models: dict[str, Path], chunks: Callable[[int], None]) -> None:
    """As under LoRA, which trains no adapter at the output layer."""
    model = load_model(small_models["llama"])
    model.lm_head.weight.requires_grad_(False)
    batch = PaddedBatch.from_examples(_examples(), 0)
    expected = _loss_and_gradients(model, batch)
    chunks(model.config.vocab_size)
    _assert_equal(_loss_and_gradients(model, batch), expected)
    assert model.lm_head.weight.grad is None


@pytest.mark.parametrize("kind", ["unknown cap", "other layer"])
def test_what_cannot_be_computed_in_chunks_is_named_and_computed_at_once(
    kind: str, small_models: dict[str, Path], chunks: Callable[[int], None], shapes: list[tuple[int, ...]], capsys: Any
) -> None:
    model = load_model(small_models["llama"])
    if kind == "unknown cap":
        model.register_forward_hook(lambda _, inputs, output: setattr(output, "logits", 30 * torch.tanh(output.logits / 30)))
        reason = "LlamaForCausalLM changes its logits in a way that is not supported"
    else:

        class OtherLinear(nn.Linear): ...

        model.lm_head.__class__ = OtherLinear
        reason = "LlamaForCausalLM: its output layer is of the type OtherLinear"
    batch = PaddedBatch.from_examples(_examples(), 0)
    expected = _loss_and_gradients(model, batch)
    chunks(model.config.vocab_size)
    shapes.clear()
    for _ in range(2):
        _assert_equal(_loss_and_gradients(model, batch), expected)
    assert shapes == [(batch.trained_tokens, model.config.vocab_size)] * 2
    assert capsys.readouterr().err.count(f"computed at once, not in chunks ({reason})") == 1


def test_the_estimate_knows_chunks() -> None:
    size = ModelSize(270_000_000, 270_000_000, 18, 640, 2048, 1024, 256, 262_144)
    memory = estimate_training(size, bfloat16=True)
    assert memory.chunk_tokens == 256
    in_chunks = memory.total(4096, 4096) - memory.fixed - 4096 * memory.per_token
    assert in_chunks < 0.2 * 4096 * memory.per_trained_token
    assert in_chunks > 4 * 262_144 * 640 + 256 * memory.per_trained_token
    assert memory.total(256, 256) == memory.fixed + 256 * (memory.per_token + memory.per_trained_token)
    for tokens in (100, 256, 1000, 4096):
        assert memory.fitting_tokens(memory.total(tokens, tokens)) == tokens
    assert memory.fitting_tokens(memory.total(256, 256) + GIB // 16) == 256
    sharded = estimate_training(size, bfloat16=True, num_shards=2)
    assert sharded.total(4096, 4096) - sharded.fixed == memory.total(4096, 4096) - memory.fixed, "the output layer is whole in each process"


def test_a_model_in_the_wrapper_of_several_processes(small_models: dict[str, Path], chunks: Callable[[int], None], tmp_path: Path) -> None:
    model = load_model(small_models["llama"])
    batch = PaddedBatch.from_examples(_examples(), 0)
    expected = _loss_and_gradients(model, batch)
    chunks(model.config.vocab_size)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        loss, gradients = _loss_and_gradients(nn.parallel.DistributedDataParallel(model), batch)
    finally:
        torch.distributed.destroy_process_group()
    _assert_equal((loss, {name.removeprefix("module."): gradient for name, gradient in gradients.items()}), expected)


def test_a_training_in_chunks_learns_the_same(
    small_models: dict[str, Path], chunks: Callable[[int], None], shapes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    at_once = finetune(small_models["llama"], TRAJECTORIES, tmp_path / "at once", settings=finetune_params(), epochs=1, seed=0)
    assert max(rows for rows, _ in shapes) > CHUNK
    shapes.clear()
    chunks(load_model(small_models["llama"]).config.vocab_size)
    in_chunks = finetune(small_models["llama"], TRAJECTORIES, tmp_path / "in chunks", settings=finetune_params(), epochs=1, seed=0)
    assert max(rows for rows, _ in shapes) == CHUNK
    assert losses(in_chunks) == pytest.approx(losses(at_once), rel=1e-4)

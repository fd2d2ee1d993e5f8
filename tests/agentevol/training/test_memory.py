"""Training with less memory: 16-bit weights with masters, checkpointing, fitted micro-batches, 8-bit moments; results as the plain ones."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model, model_digest
from agentevol.training import finetune as finetune_module
from agentevol.training import gpu_attention
from agentevol.training.checkpoints import Checkpoint
from agentevol.training.finetune import OutOfMemory, finetune
from agentevol.training.gpu_attention import agrees
from agentevol.training.master_weights import MasterWeights
from agentevol.training.memory import ModelSize, estimate_training
from agentevol.training.optimizer import Optimizer, OptimizerNotInstalled
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.schedule import LossCurve
from tests.agentevol.training.examples import TRAJECTORIES, finetune_params, losses

CPU = torch.device("cpu")
needs_bitsandbytes = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def _batches(seed: int = 0) -> list[PackedBatch]:
    torch.manual_seed(seed)
    rows = [TokenizedExample(torch.randint(2, 200, (length,)).tolist(), [True] * length) for length in (40, 7, 90)]
    return [PackedBatch.from_examples([(row, 1.0)]) for row in rows]


def _optimizer(folder: Path, **options: Any) -> Optimizer:
    model = load_model(folder)
    assert enable_packed_attention(model)
    return Optimizer(model, precision="bfloat16", weight_decay=0.0, max_grad_norm=1.0, **options)


def test_masters_learn_what_weights_of_16_bits_would_lose(small_models: dict[str, Path]) -> None:
    """Steps far below the spacing of bfloat16 numbers still add up."""
    optimizer = _optimizer(small_models["llama"], master_weights=True)
    plain = Optimizer(_packed(small_models["llama"]), precision="float32", weight_decay=0.0, max_grad_norm=1.0)
    start = {name: tensor.detach().clone() for name, tensor in optimizer.trained_tensors().items()}
    pairs = [(optimizer.step(_batches(), 1e-5), plain.step(_batches(), 1e-5)) for _ in range(8)]
    assert all(ours == pytest.approx(expected, rel=2e-2) for ours, expected in pairs)
    assert next(optimizer.unwrapped_model().parameters()).dtype == torch.bfloat16
    assert all(parameter.grad is None for parameter in optimizer.unwrapped_model().parameters())
    for name, tensor in optimizer.trained_tensors().items():
        moved, expected = (each.detach() - start[name] for each in (tensor, plain.trained_tensors()[name]))
        assert tensor.dtype == torch.float32
        assert float((moved - expected).norm()) < 0.5 * float(expected.norm()), name
        rounded = tensor.to(torch.bfloat16)
        assert torch.equal(dict(optimizer.unwrapped_model().named_parameters())[name], rounded)


def test_weights_that_are_not_trained_reach_the_device_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With LoRA a GPU may have no room for them in float32, not even for a moment."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    frozen, trained = model
    frozen.requires_grad_(False)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    move, moved = Tensor.to, []

    def record(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        if any(isinstance(each, torch.device) for each in args):
            moved.append((tensor.dtype, tensor.shape))
        return move(tensor, *args, **options)

    monkeypatch.setattr(Tensor, "to", record)
    weights = MasterWeights(model, CPU)
    assert {shape for dtype, shape in moved if dtype == torch.float32} == {parameter.shape for parameter in trained.parameters()}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, expected[name].bfloat16())
        assert (parameter in weights.masters) == parameter.requires_grad
    assert all(torch.equal(weights.of(parameter), expected[f"1.{name}"]) for name, parameter in trained.named_parameters())


def _packed(folder: Path) -> Any:
    model = load_model(folder)
    assert enable_packed_attention(model)
    return model


@pytest.mark.parametrize("kind", ["adamw", pytest.param("adamw_8bit", marks=needs_bitsandbytes)])
def test_a_checkpoint_holds_masters_and_moments_of_every_kind(kind: str, small_models: dict[str, Path], tmp_path: Path) -> None:
    whole, killed, resumed = (_optimizer(small_models["llama"], kind=kind, master_weights=True) for _ in range(3))
    for _ in range(6):
        whole.step(_batches(), 1e-3)
    for _ in range(3):
        killed.step(_batches(), 1e-3)
    Checkpoint(tmp_path / "checkpoint", 0.0).save_if_due(3, killed, LossCurve(6))
    assert Checkpoint(tmp_path / "checkpoint", 0.0).restore(resumed, LossCurve(6)) == 3
    for _ in range(3):
        resumed.step(_batches(), 1e-3)
    for ours, expected in zip(resumed.trained_tensors().values(), whole.trained_tensors().values(), strict=True):
        assert torch.equal(ours, expected)


def test_a_checkpoint_puts_all_of_the_optimizers_state_where_its_weights_are(tmp_path: Path) -> None:
    """A GPU's fused AdamW reads the count of steps on the GPU. The device `meta` stands for one here."""
    model = torch.nn.Linear(2, 1)
    optimizer = Optimizer(model, precision="float32", weight_decay=0.0, max_grad_norm=1.0)
    batch: Any = SimpleNamespace(trained_tokens=1, loss_sum=lambda model, device: model(torch.ones(2)).sum())
    optimizer.step([batch], 1e-3)
    Checkpoint(tmp_path / "checkpoint", 0.0).save(1, optimizer)
    weights = {name: torch.nn.Parameter(parameter.to("meta")) for name, parameter in model.named_parameters()}
    adamw = torch.optim.AdamW(weights.values())
    resumed: Any = SimpleNamespace(is_sharded=False, masters=None, trained_tensors=lambda: weights, adamw=adamw)
    assert Checkpoint(tmp_path / "checkpoint", 0.0).restore(resumed) == 1
    states = [adamw.state[weight] for weight in weights.values()]
    assert [{name: value.device.type for name, value in state.items()} for state in states] == [
        {"step": "meta", "exp_avg": "meta", "exp_avg_sq": "meta"} for _ in weights
    ]


def test_activations_computed_again_give_the_same_weights(small_models: dict[str, Path], tmp_path: Path) -> None:
    digests = []
    for name, settings in (("kept", finetune_params()), ("again", finetune_params(gradient_checkpointing=True))):
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / name, settings=settings, epochs=3, seed=0)
        digests.append(model_digest(tmp_path / name))
    assert digests[0] == digests[1]


def test_micro_batches_are_fitted_to_the_memory(small_models: dict[str, Path], tmp_path: Path) -> None:
    size = ModelSize.of(load_model(small_models["llama"]))
    memory = estimate_training(size, bfloat16=False)
    gib = memory.total(300, 300) / 2**30
    assert memory.fitting_tokens(memory.total(300, 300)) == 300
    whole, fitted = (
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / name, settings=finetune_params(memory_gib=limit), epochs=3, seed=0)
        for name, limit in (("whole", None), ("fitted", gib))
    )
    assert (whole["micro_batch_tokens"], fitted["micro_batch_tokens"]) == (None, 300)
    assert losses(fitted) == pytest.approx(losses(whole), rel=1e-4)


def test_a_step_that_does_not_fit_is_done_again_in_smaller_parts(
    small_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finetune(small_models["llama"], TRAJECTORIES, tmp_path / "whole", settings=finetune_params(), epochs=3, seed=0)
    most, nll = 300, PackedBatch.loss_sum

    def limited_nll(batch: PackedBatch, model: Any, device: torch.device) -> Tensor:
        if batch.tokens > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nmore lines")
        return nll(batch, model, device)

    monkeypatch.setattr(PackedBatch, "loss_sum", limited_nll)
    facts = finetune(small_models["llama"], TRAJECTORIES, tmp_path / "parts", settings=finetune_params(), epochs=3, seed=0)
    assert facts["micro_batch_tokens"] < most
    assert losses(facts) == pytest.approx(losses(expected), rel=1e-4)
    most = 10
    with pytest.raises(OutOfMemory, match=r"does not fit \(CUDA out of memory. Tried to allocate 3 GiB\.\); set finetune\.gradient_checkp"):
        finetune(small_models["llama"], TRAJECTORIES, tmp_path / "none", settings=finetune_params(), epochs=3, seed=0)
    assert finetune_module._fitting_tokens(finetune_params(), ModelSize(1, 1, 1, 1, 1, 1, 1, 1), _optimizer(small_models["llama"])) is None


@needs_bitsandbytes
def test_moments_of_8_bits_learn_nearly_the_same(small_models: dict[str, Path], tmp_path: Path) -> None:
    plain, small = (
        losses(finetune(small_models["llama"], TRAJECTORIES, tmp_path / kind, settings=finetune_params(optimizer=kind), epochs=30, seed=0))
        for kind in ("adamw", "adamw_8bit")
    )
    assert small == pytest.approx(plain, rel=0.1)
    assert small[-1] < 0.7 * small[0]


def test_a_missing_bitsandbytes_is_named(small_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    with pytest.raises(OptimizerNotInstalled, match=r"adamw_8bit needs the library bitsandbytes: pip install 'agentevol\[gpu\]'"):
        _optimizer(small_models["llama"], kind="adamw_8bit")


def test_the_kernel_is_used_only_if_it_agrees_with_attention_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention import varlen

    calls: list[tuple[int, int]] = []

    def varlen_attn(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, _: Tensor, longest: int, __: int, **options: Any) -> Tensor:
        """What PyTorch documents: window_size (left, 0) lets a token see `left` tokens before it, (-1, 0) all."""
        left = options["window_size"][0]
        calls.append(options["window_size"])
        lengths = tuple((starts[1:] - starts[:-1]).tolist())
        assert longest == max(lengths)
        return gpu_attention._row_by_row(query, key, value, lengths, options["scale"], None if left < 0 else left + 1)

    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    assert agrees(gpu_attention.varlen_attention, CPU, torch.float32, heads=4, key_heads=2, width=16)
    assert calls == [(-1, 0), (19, 0)]

    def without_groups(
        query: Tensor, key: Tensor, value: Tensor, starts: Tensor, _: Tensor, longest: int, __: int, *, scale: float, window_size: Any
    ) -> Tensor:
        """PyTorch 2.11: no option for fewer key heads than heads."""
        assert query.shape[1] == key.shape[1] == value.shape[1]
        return varlen_attn(query, key, value, starts, starts, longest, longest, scale=scale, window_size=window_size)

    monkeypatch.setattr(varlen, "varlen_attn", without_groups)
    assert agrees(gpu_attention.varlen_attention, CPU, torch.float32, heads=4, key_heads=2, width=16)
    monkeypatch.setattr(varlen, "varlen_attn", lambda *inputs, **options: varlen_attn(*inputs, **{**options, "window_size": (-1, 0)}))
    assert not agrees(gpu_attention.varlen_attention, CPU, torch.float32, heads=4, key_heads=2, width=16)
    monkeypatch.delattr(varlen, "varlen_attn")
    assert not agrees(gpu_attention.varlen_attention, CPU, torch.float32, heads=4, key_heads=2, width=16)


def test_a_layer_under_checkpointing_may_be_the_first_to_check_the_kernel() -> None:
    """The check computes gradients of its own; when the layer is computed again, its result is known and they are missing."""
    works = cache(lambda: agrees(gpu_attention._row_by_row, CPU, torch.float32, heads=4, key_heads=2, width=8))
    weight = torch.randn(8, 8, requires_grad=True)

    def layer(inputs: Tensor) -> Tensor:
        assert works()
        return torch.tanh(inputs @ weight)

    checkpoint(layer, torch.randn(4, 8), use_reentrant=False).sum().backward()
    assert weight.grad is not None

"""Attention over packed examples: what each example would get alone, forwards and backwards, whatever its length."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from agentevol.training.cpu_attention import BLOCK, cpu_packed_attention

HEADS, KEY_HEADS, WIDTH = 4, 2, 16
LENGTHS = [1, 31, 32, 33, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 45, 2]


def reference_attention(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scale: float) -> Tensor:
    """PyTorch's attention, example by example."""
    key, value = (tensor.repeat_interleave(HEADS // KEY_HEADS, dim=0) for tensor in (key, value))
    examples = zip(*(tensor.split(lengths, dim=1) for tensor in (query, key, value)), strict=True)
    outputs = [scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=scale)[0] for q, k, v in examples]
    return torch.cat(outputs, dim=1)


def outputs_and_gradients(attention: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The output, and the gradients of query, key and value, for the same numbers each time."""
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(heads, sum(LENGTHS), WIDTH, generator=generator).to(dtype).requires_grad_() for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]
    out = attention(*inputs, LENGTHS, WIDTH**-0.5)
    out.backward(torch.randn(out.shape, generator=generator).to(dtype))
    return [out.detach().float(), *(tensor.grad.float() for tensor in inputs if tensor.grad is not None)]


def test_each_example_is_attended_to_as_if_it_were_alone() -> None:
    ours = outputs_and_gradients(cpu_packed_attention, torch.float32)
    expected = outputs_and_gradients(reference_attention, torch.float32)
    assert len(ours) == 4
    for tensor, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(tensor, reference, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_the_error_is_about_pytorchs() -> None:
    exact = outputs_and_gradients(reference_attention, torch.float32)

    def errors(attention: Callable[..., Tensor]) -> list[float]:
        tensors = outputs_and_gradients(attention, torch.bfloat16)
        return [float((tensor - true).square().mean().sqrt()) for tensor, true in zip(tensors, exact, strict=True)]

    assert errors(cpu_packed_attention) == pytest.approx(errors(reference_attention), rel=0.4)


def test_under_autocast_it_computes_in_autocasts_precision_like_pytorch() -> None:
    query, key, value = torch.randn(HEADS, 9, WIDTH), torch.randn(KEY_HEADS, 9, WIDTH), torch.randn(KEY_HEADS, 9, WIDTH).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_packed_attention(query, key, value, [4, 5], 0.25).dtype == torch.bfloat16

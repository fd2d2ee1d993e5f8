"""Attention over rows in a line: what each row would get alone, forwards and backwards, whatever its length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from agentevol.training.cpu_attention import BLOCK, cpu_packed_attention

HEADS, KEY_HEADS, WIDTH = 4, 2, 16
AT_THE_EDGES = [1, 31, 32, 33, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 45, 2]


def row_by_row(query: Tensor, key: Tensor, value: Tensor, sizes: list[int], scale: float) -> Tensor:
    key, value = (line.repeat_interleave(HEADS // KEY_HEADS, dim=0) for line in (key, value))
    rows = zip(*(line.split(sizes, dim=1) for line in (query, key, value)), strict=True)
    return torch.cat([scaled_dot_product_attention(*(one[None] for one in row), is_causal=True, scale=scale)[0] for row in rows], dim=1)


def gone_through(attention: object, dtype: torch.dtype) -> list[Tensor]:
    """What it returns, and the gradients of query, key and value, for the same numbers each time."""
    draw = torch.Generator().manual_seed(0)
    tokens = sum(AT_THE_EDGES)
    lines = [torch.randn(heads, tokens, WIDTH, generator=draw).to(dtype).requires_grad_() for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    out = attention(*lines, AT_THE_EDGES, WIDTH**-0.5)  # type: ignore[operator]
    out.backward(torch.randn(out.shape, generator=draw).to(dtype))
    return [out.detach().float(), *(line.grad.float() for line in lines if line.grad is not None)]


def test_each_row_is_attended_to_as_if_it_were_alone() -> None:
    ours, alone = gone_through(cpu_packed_attention, torch.float32), gone_through(row_by_row, torch.float32)
    assert len(ours) == 4
    for one, other in zip(ours, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_half_precision_errs_about_as_much_as_pytorch_does() -> None:
    exact = gone_through(row_by_row, torch.float32)
    ours, theirs = (
        [float((one - true).square().mean().sqrt()) for one, true in zip(gone_through(attention, torch.bfloat16), exact, strict=True)]
        for attention in (cpu_packed_attention, row_by_row)
    )
    assert ours == pytest.approx(theirs, rel=0.4)


def test_under_autocast_it_computes_in_its_precision_like_pytorch() -> None:
    query, key, value = torch.randn(HEADS, 9, WIDTH), torch.randn(KEY_HEADS, 9, WIDTH), torch.randn(KEY_HEADS, 9, WIDTH).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_packed_attention(query, key, value, [4, 5], 0.25).dtype == torch.bfloat16

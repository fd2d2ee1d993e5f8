"""The cache of blocks, which a GPU uses, on this machine: the same answers as with a row for each slot, also where the budget is small."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentevol.data.trajectory import Message
from agentevol.rollout.engine import EngineError, GenerationRequest
from agentevol.rollout.engines.transformers import NOT_FINITE, TransformersEngine
from agentevol.rollout.paged_attention import agrees, gathered_attention
from agentevol.rollout.paged_cache import BLOCK, BlockAllocator
from agentevol.rollout.ragged_attention import BatchLayout, ragged_attention
from agentevol.rollout.sampling import Sampling
from tests.small_models import FAMILIES

PROMPTS = [[(7 * slot + i * i) % 250 for i in range(length)] for slot, length in enumerate((300, 12, 255, 256, 257, 40))]


def _request(slot: int, token_ids: Sequence[int], new_tokens: int) -> GenerationRequest:
    sampling = Sampling(temperature=0.8)
    return GenerationRequest(slot, [Message("user", "")], token_ids, np.random.default_rng(slot), sampling, new_tokens)


def _play(engine: TransformersEngine, prompts: Sequence[Sequence[int]] = PROMPTS, new_tokens: int = 6) -> list[list[int]]:
    """Two turns of every prompt."""
    engine.chat = copy(engine.chat)  # the original belongs to every engine of this model in the process
    engine.chat.stop_token_ids = frozenset()  # random weights: every answer has all its tokens
    conversations = [list(prompt) for prompt in prompts]
    for _ in range(2):
        for slot, conversation in enumerate(conversations):
            engine.submit(_request(slot, list(conversation), new_tokens))
        answers: dict[int, list[int]] = {}
        while len(answers) < len(prompts):
            for result in engine.poll():
                assert not result.error
                answers[result.slot] = result.token_ids
        for slot, conversation in enumerate(conversations):
            conversation += [*answers[slot], 9, 8, 7]
    return conversations


def _engine(folder: Path, paged: bool, **options: Any) -> TransformersEngine:
    return TransformersEngine(folder, num_slots=len(PROMPTS), context_length=512, paged=paged, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_give_the_same_answers_as_rows(family: str, small_models: dict[str, Path]) -> None:
    assert _play(_engine(small_models[family], paged=True)) == _play(_engine(small_models[family], paged=False))


def test_memory_is_taken_as_conversations_grow(small_models: dict[str, Path]) -> None:
    engine = _engine(small_models["llama"], paged=True)
    engine.append_tokens([0], [[1] * 20])
    assert engine._layers[0].keys is not None
    assert engine._layers[0].keys.shape[0] == 1
    engine.append_tokens([0, 1], [[1] * BLOCK, [2]])
    assert engine._layers[0].keys.shape[0] == 3
    engine.release(0)
    engine.append_tokens([2], [[3] * 2 * BLOCK])
    assert engine._layers[0].keys.shape[0] == 3


def test_a_small_budget_gives_the_same_answers_by_reading_again(small_models: dict[str, Path]) -> None:
    """Two blocks of 256 tokens for six conversations of up to two blocks."""
    roomy = _engine(small_models["llama"], paged=True)
    bytes_per_block = sum(2 * layer.values.numel() * 4 // layer.values.shape[0] for layer in roomy._layers if _fill(roomy))
    small = _engine(small_models["llama"], paged=True, kv_cache_gib=2.5 * bytes_per_block / 2**30)
    read: list[int] = []
    forward = small._forward
    small._forward = lambda layout, ids: read.append(len(ids)) or forward(layout, ids)  # type: ignore[method-assign, func-returns-value]
    assert _play(small) == _play(_engine(small_models["llama"], paged=False))
    assert small._layers[0].keys is not None
    assert small._layers[0].keys.shape[0] == 2
    assert sum(read) > 2 * sum(map(len, PROMPTS)), "conversations had to be read again"
    with pytest.raises(EngineError, match=r"holds 256 tokens, one conversation may have 512; raise rollout\.kv_cache_gib"):
        _engine(small_models["llama"], paged=True, kv_cache_gib=1.5 * bytes_per_block / 2**30)


def _fill(engine: TransformersEngine) -> bool:
    if not engine._cached_ids:
        engine.append_tokens([0], [[1]])
    return True


def test_reading_and_generating_never_share_a_pass(small_models: dict[str, Path]) -> None:
    engine = _engine(small_models["llama"], paged=True)
    passes: list[set[bool]] = []
    forward = engine._forward

    def record(layout: BatchLayout, ids: list[int]) -> Any:
        passes.append({new > 1 for new in layout.new_lengths})
        return forward(layout, ids)

    engine._forward = record  # type: ignore[method-assign]
    _play(engine)
    assert all(len(kinds) == 1 for kinds in passes)
    assert sum(kinds == {True} for kinds in passes) == 2, "all prompts, then all observations"


def test_a_row_that_is_not_finite_spoils_no_other(small_models: dict[str, Path]) -> None:
    engine, alone = (_engine(small_models["llama"], paged=True) for _ in range(2))
    engine.append_tokens([1], [[9, 9]])
    engine.submit(_request(0, [5, 6, 7], 4))
    values = engine.model.model.layers[0].self_attn.v_proj
    hook = values.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    (result,) = engine.poll()
    hook.remove()
    assert result.error == NOT_FINITE
    alone.append_tokens([1], [[9, 9]])
    assert torch.allclose(engine.append_tokens([1, 2], [[3], [5, 6]]), alone.append_tokens([1, 2], [[3], [5, 6]]), atol=1e-5)


def test_gathered_attention_is_that_of_rows() -> None:
    def by_rows(queries: Any, key: Any, value: Any, layout: Any, scale: float, window: int | None) -> torch.Tensor:
        rows = [states[layout.table.long()].flatten(1, 2).transpose(1, 2) for states in (key, value)]
        new = (layout.lengths - layout.cached_lengths).tolist()
        mask = BatchLayout(list(range(len(new))), layout.cached_lengths.tolist(), new).as_attention_mask()
        return ragged_attention(None, queries.transpose(0, 1)[None], *rows, mask, scaling=scale, sliding_window=window)[0][0]

    cpu = torch.device("cpu")
    assert agrees(by_rows, cpu, torch.float32, heads=4, key_heads=2, width=16)
    assert not agrees(lambda *inputs: gathered_attention(*inputs[:5], None), cpu, torch.float32, heads=4, key_heads=2, width=16)

    def missing(*inputs: Any) -> torch.Tensor:
        raise TypeError("no such kernel")

    assert not agrees(missing, cpu, torch.float32, heads=4, key_heads=2, width=16)


def test_the_allocator_gives_every_block_to_one_row() -> None:
    allocator = BlockAllocator(max_blocks=3)
    assert allocator.reserve(0, BLOCK + 1)
    assert allocator.reserve(1, 1)
    assert not allocator.reserve(2, 1)
    assert allocator.blocks[2] == []
    assert sorted(allocator.blocks[0] + allocator.blocks[1]) == [0, 1, 2]
    assert allocator.table([1, 0], [1, BLOCK + 1]) == [[allocator.blocks[1][0], 0], allocator.blocks[0]]
    allocator.release(0)
    assert allocator.reserve(2, 2 * BLOCK)
    assert allocator.num_blocks == 3

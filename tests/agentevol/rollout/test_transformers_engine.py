"""The `transformers` engine by itself: slots, shared prefixes, attention over the KV cache, sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agentevol.rollout.engine import GenerationRequest
from agentevol.rollout.engines.transformers import TransformersEngine, sample_tokens
from agentevol.rollout.ragged_attention import BatchLayout, ragged_attention
from agentevol.rollout.sampling import Sampling
from tests.small_models import FAMILIES


def test_a_released_slot_has_no_history(small_models: dict[str, Path]) -> None:
    engine = TransformersEngine(small_models["llama"], num_slots=2, context_length=64)
    first = engine.append_tokens([0, 1], [[5, 6, 7], [9]])
    engine.release(1)
    second = engine.append_tokens([1], [[5, 6, 7]])
    assert torch.allclose(first[0], second[0], atol=1e-5)
    with pytest.raises(ValueError, match="does not fit the context of 64"):
        engine.append_tokens([0], [[1] * 62])


def test_a_released_slot_with_infinite_values_can_be_used_again(small_models: dict[str, Path]) -> None:
    engine = TransformersEngine(small_models["llama"], num_slots=2, context_length=64)
    first = engine.append_tokens([0], [[5, 6, 7]])
    with torch.inference_mode():
        for layer in engine._layers:
            assert layer.keys is not None
            layer.keys[0], layer.keys[0, :, 40] = float("inf"), float("nan")
    engine.release(0)
    engine.append_tokens([1], [[1] * 50])  # the next pass spans the length of the longest slot
    second = engine.append_tokens([0, 1], [[5, 6, 7], [9]])
    assert torch.allclose(first[0], second[0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_conversation_reads_only_what_differs_from_one_in_the_cache(family: str, small_models: dict[str, Path]) -> None:
    engine, reference = (TransformersEngine(small_models[family], num_slots=3, context_length=64) for _ in range(2))
    prefix = [7, 8, 9, 10, 11]
    engine.append_tokens([2], [[*prefix, 12]])
    read: list[list[int]] = []
    forward = engine._forward
    engine._forward = lambda layout, ids: read.append(ids) or forward(layout, ids)  # type: ignore[method-assign, func-returns-value]
    logits = engine.append_tokens([0, 1], [[*prefix, 13, 14], prefix])
    assert read == [[13, 14, 11]]
    for row, token_ids in enumerate(([*prefix, 13, 14], prefix)):
        reference.release(0)
        assert torch.allclose(reference.append_tokens([0], [token_ids])[0], logits[row], atol=1e-5)


def test_prompts_longer_than_a_pass_are_read_while_others_generate(small_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would otherwise wait until all that came before it are answered, so that episodes play one after another."""
    monkeypatch.setattr("agentevol.rollout.engines.transformers._MAX_TOKENS_PER_PASS", 8)
    engine = TransformersEngine(small_models["llama"], num_slots=3, context_length=64)
    for slot in range(3):
        engine.submit(GenerationRequest(slot, [], list(range(5 + slot, 15 + slot)), np.random.default_rng(0), Sampling(), max_new_tokens=4))
    passes = []
    while engine._active:
        engine.poll()
        passes.append(sum(sequence.pending_ids == [*sequence.request.token_ids] for sequence in engine._active.values()))
    assert passes[:3] == [2, 1, 0], "one of them is read in each pass"
    assert len(passes) <= 6


def test_a_sliding_window_hides_distant_positions() -> None:
    torch.manual_seed(0)
    key, value = torch.randn(1, 2, 30, 8), torch.randn(1, 2, 30, 8)
    query = torch.randn(1, 4, 5, 8)
    layouts = [BatchLayout([0], [10 + step], [1]) for step in range(5)]
    token_by_token = [
        ragged_attention(None, query[:, :, step : step + 1], key, value, layout.as_attention_mask(), sliding_window=6)[0]
        for step, layout in enumerate(layouts)
    ]
    at_once, _ = ragged_attention(None, query, key, value, BatchLayout([0], [10], [5]).as_attention_mask(), sliding_window=6)
    assert torch.allclose(torch.cat(token_by_token, dim=1), at_once, atol=1e-6)
    without_window, _ = ragged_attention(None, query, key, value, BatchLayout([0], [10], [5]).as_attention_mask())
    assert not torch.allclose(without_window, at_once, atol=1e-3)


def test_attention_with_unsupported_options_is_rejected() -> None:
    with pytest.raises(NotImplementedError, match="softcap"):
        ragged_attention(None, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.zeros(1), softcap=30.0)


def test_sampled_tokens_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(1000, 3)
    uniforms = [(i + 0.5) / 1000 for i in range(1000)]
    tokens = sample_tokens(logits, temperature=1.0, top_p=1.0, uniforms=uniforms)
    assert torch.bincount(tokens).tolist() == [500, 300, 200]
    assert set(sample_tokens(logits, temperature=1.0, top_p=0.6, uniforms=uniforms).tolist()) == {0, 1}
    assert set(sample_tokens(logits, temperature=0.0, top_p=1.0, uniforms=uniforms).tolist()) == {0}

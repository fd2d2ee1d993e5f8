"""Packed batches: the loss and the gradient of padded rows, and balanced groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model
from agentevol.training.chunked_loss import weighted_nll
from agentevol.training.packing import PackedBatch, enable_packed_attention, pack_batches, split_balanced
from agentevol.training.padding import padded_batches


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_packed_loss_and_gradient_are_those_of_padded_rows(family: str, small_models: dict[str, Path]) -> None:
    torch.manual_seed(0)
    examples = [
        (TokenizedExample(torch.randint(2, 200, (length,)).tolist(), [i % 3 > 0 for i in range(length)]), weight)
        for length, weight in ((40, 1.0), (7, 0.25), (90, 0.5))
    ]
    padded_model, packed_model = load_model(small_models[family]), load_model(small_models[family])
    (padded,) = padded_batches(examples, tokens=10_000, epochs=1, seed=0, pad_id=0)
    logits = padded_model(input_ids=padded.ids, use_cache=False).logits[:, :-1][padded.loss_mask]
    expected = weighted_nll(logits, padded.targets, padded.target_weights)
    assert enable_packed_attention(packed_model)
    packed = PackedBatch.from_examples(examples)
    loss = packed.loss_sum(packed_model, torch.device("cpu"))
    assert packed.trained_tokens == padded.trained_tokens
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    expected.backward()
    loss.backward()
    for ours, theirs in zip(packed_model.parameters(), padded_model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_groups_are_consecutive_and_of_about_the_same_number_of_tokens() -> None:
    lengths = [5, 80, 3, 40, 40, 12, 60, 7, 33, 20]
    indices = list(range(100, 110))
    groups = split_balanced(indices, lengths, 3)
    assert [index for group in groups for index in group] == indices
    assert all(abs(sum(lengths[index - 100] for index in group) - sum(lengths) / 3) <= max(lengths) for group in groups)
    assert split_balanced([0], [9], 3) == [[], [0], []]


def test_every_example_is_packed_once_an_epoch() -> None:
    lengths = list(range(10, 400, 7))
    batches = list(pack_batches(lengths, tokens=1024, epochs=2.5, seed=0))
    assert all(batches)
    assert sum(map(len, batches)) == 2 * len(lengths) + round(0.5 * len(lengths))
    assert batches == list(pack_batches(lengths, tokens=1024, epochs=2.5, seed=0))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_only_the_first_layer_of_a_pass_reads_the_lengths(
    family: str, small_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several processes train, they are on the GPU, and reading them waits for it."""
    model = load_model(small_models[family])
    assert enable_packed_attention(model)
    reads: list[int] = []
    read = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(1) or read(tensor))  # type: ignore[func-returns-value]
    losses = []
    for length in (30, 50, 30):
        batch = PackedBatch.from_examples([(TokenizedExample(list(range(length)), [True] * length), 1.0)])
        before = len(reads)
        losses.append(float(batch.loss_sum(model, torch.device("cpu")).detach()))
        assert len(reads) == before + 1, "of two layers"
    assert losses[0] == losses[2] != losses[1]

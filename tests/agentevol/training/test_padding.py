"""Padded batches: the loss is the paper's, padding costs little, and every example comes once an epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agentevol.chat.tokenize import TokenizedExample
from agentevol.models import load_model
from agentevol.training.chunked_loss import weighted_nll
from agentevol.training.optimizer import Optimizer
from agentevol.training.padding import IGNORE_INDEX, PaddedBatch, padded_batches
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.training.examples import EASY, HARD


def test_the_loss_is_the_papers_weighted_likelihood() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 7)
    ids = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]])
    labels = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 3, 4], [IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX]])
    log = torch.log_softmax(logits, dim=-1)
    expected = -(1.0 * (log[0, 1, 3] + log[0, 2, 4]) + 0.25 * log[1, 0, 3])
    batch = PaddedBatch(ids, labels, torch.tensor([1.0, 0.25]))
    nll = weighted_nll(logits[:, :-1][batch.loss_mask], batch.targets, batch.target_weights)
    assert float(nll) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_the_loss_is_that_of_the_whole_output_layer(family: str, small_models: dict[str, Path], counting: str) -> None:
    """Leaving positions out of the output layer does not change the loss."""
    model = load_model(small_models[family])
    dataset = tokenize_dataset([EASY[0], replace(HARD[0], reward=0.5)], small_models[family])
    examples = list(zip(dataset.examples, dataset.rewards, strict=True))
    batch = next(padded_batches(examples, tokens=4096, epochs=1, seed=0, pad_id=0))
    with torch.no_grad():
        log = torch.log_softmax(model(input_ids=batch.ids).logits.float(), dim=-1)
    nll = -log[:, :-1].gather(2, batch.ids[:, 1:, None])[..., 0] * batch.weights[:, None]
    optimizer = Optimizer(model, precision="float32", weight_decay=0.0, max_grad_norm=1.0)
    assert optimizer.evaluate_loss(batch) == pytest.approx(float(nll[batch.loss_mask].sum() / batch.trained_tokens), rel=1e-5)


def test_every_example_once_an_epoch_and_batches_within_the_budget() -> None:
    examples = [(TokenizedExample(list(range(2, 2 + length)), [True] * length), 1.0) for length in range(10, 400, 7)]
    batches = list(padded_batches(examples, tokens=1024, epochs=2.5, seed=0, pad_id=0))
    assert all(batch.ids.numel() <= 1024 for batch in batches)
    assert sum(len(batch.ids) for batch in batches) == 2 * len(examples) + round(0.5 * len(examples))
    tokens = sum(int((batch.labels != IGNORE_INDEX).sum()) for batch in batches)
    assert tokens / sum(batch.ids.numel() for batch in batches) > 0.75

"""The loss and the gradient of a rule's step against a plain implementation, for the tests of the learning rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agentevol.models import load_model
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import enable_packed_attention
from agentevol.training.reference_logprobs import reference_logprobs
from agentevol.training.rules import LearningRule
from agentevol.training.term_batch import TermBatcher, usable_terms
from agentevol.training.tokenized_dataset import TokenizedDataset


def plain_logprobs(model: Any, dataset: TokenizedDataset) -> list[Tensor]:
    """log p of every trained token of each episode, from a plain forward pass of the episode alone."""
    found = []
    for example in dataset.examples:
        ids = torch.tensor([list(example.token_ids)])
        log = torch.log_softmax(model(input_ids=ids).logits[0, :-1].float(), dim=-1)
        found.append(log.gather(1, ids[0, 1:, None])[:, 0][torch.tensor(list(example.loss_mask[1:])).bool()])
    return found


def moved(model: Any) -> Any:
    """The model a little away from the reference, in evaluation mode."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def check_gradient(
    rule: LearningRule,
    dataset: TokenizedDataset,
    folder: Path,
    packed: bool,
    expected_loss: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
    aggregation: Any = "token_mean",
) -> None:
    """Compare a step in micro-batches with `expected_loss(log p of the policy, of the reference)` and its gradient."""
    plain = load_model(folder)
    with torch.no_grad():
        reference = plain_logprobs(plain.eval(), dataset)
    expected = expected_loss(plain_logprobs(moved(plain), dataset), reference)
    expected.backward()

    model = load_model(folder)
    assert not packed or enable_packed_attention(model)
    optimizer = Optimizer(model, precision="float32", weight_decay=0.0, max_grad_norm=1.0)
    terms, _ = usable_terms(rule, dataset, 512)
    pad_id = None if packed else 0
    episodes = sorted({i for term in terms for i in term.episodes})
    found = reference_logprobs(optimizer, dataset, episodes, pad_id=pad_id, tokens=200, policy_digest="", cache_folder=None)
    for index, logprobs in found.items():
        torch.testing.assert_close(logprobs, reference[index], rtol=1e-4, atol=1e-4)
    moved(model)
    batcher = TermBatcher(
        rule,
        terms,
        dataset,
        pad_id=pad_id,
        micro_batch_tokens=300,
        aggregation=aggregation,
        mean_terms=len(terms),
        reference=found,
        optimizer=optimizer,
    )
    step = list(range(len(terms)))
    micro_batches = batcher.split(step)
    assert len(micro_batches) > 1
    loss = sum(micro_batch.loss_sum(model, torch.device("cpu")) for micro_batch in micro_batches) / batcher.divisor(step)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    loss.backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)

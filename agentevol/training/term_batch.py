"""The terms of a learning rule's loss as micro-batches of a training step.

Invariant: every episode of a term is in the same micro-batch; how a step is split into micro-batches, and these between processes, does not
change the step's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentevol.settings.finetune import LossAggregation
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch, split_balanced
from agentevol.training.padding import PaddedBatch, padded_length
from agentevol.training.rules import LearningRule, LossTerm
from agentevol.training.tokenized_dataset import TokenizedDataset


@dataclass(frozen=True, slots=True)
class TermMicroBatch:
    """Terms whose episodes go through the model in one forward pass: a MicroBatch for the optimizer, a TermBatch for the rule.

    `batch`: their episodes, one after another. `counts`: the trained tokens of each episode. `reference`: float32 [trained tokens], where
    the rule uses it. `scale`: 0 for a batch that only keeps a process in step with the others, else 1.
    """

    rule: LearningRule
    terms: Sequence[LossTerm]
    batch: PackedBatch | PaddedBatch
    counts: Sequence[int]
    aggregation: LossAggregation
    reference: Tensor | None = None
    scale: float = 1.0

    @property
    def trained_tokens(self) -> int:
        return self.batch.trained_tokens

    def loss_sum(self, model: Any, device: torch.device) -> Tensor:
        loss = self.rule.loss(self, model, device)
        return loss if self.scale == 1.0 else self.scale * loss

    def weighted_nll(self, model: Any, device: torch.device) -> Tensor:
        return self.batch.loss_sum(model, device)

    def logprobs(self, model: Any, device: torch.device) -> Tensor:
        return self.batch.logprobs(model, device)

    def reference_logprobs(self, like: Tensor) -> Tensor:
        assert self.reference is not None, "the rule does not set uses_reference"
        return self.reference.to(like.device)

    def per_token(self, values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype).repeat_interleave(torch.tensor(self.counts)).to(like.device)

    def episode_sums(self, values: Tensor) -> Tensor:
        return torch.stack([part.sum() for part in torch.split(values, list(self.counts))])

    def episode_means(self, values: Tensor) -> Tensor:
        return torch.stack([part.mean() for part in torch.split(values, list(self.counts))])

    def aggregate(self, token_losses: Tensor) -> Tensor:
        return (token_losses if self.aggregation == "token_mean" else self.episode_means(token_losses)).sum()


class TermBatcher:
    """Turns a step's terms into this process's micro-batches, of about `micro_batch_tokens` tokens each (None: one micro-batch).

    `pad_id`: the padding token of padded micro-batches; None: they are packed. `mean_terms`: the mean number of terms of a step.
    `reference`: for each episode, the reference policy's log-probabilities, where the rule uses them.
    """

    def __init__(
        self,
        rule: LearningRule,
        terms: Sequence[LossTerm],
        dataset: TokenizedDataset,
        *,
        pad_id: int | None,
        micro_batch_tokens: int | None,
        aggregation: LossAggregation,
        mean_terms: float,
        reference: Mapping[int, Tensor] | None,
        optimizer: Optimizer,
    ) -> None:
        self.rule, self.terms, self.dataset = rule, terms, dataset
        self.pad_id, self.micro_batch_tokens = pad_id, micro_batch_tokens
        self.aggregation, self.mean_terms, self.reference = rule.loss_aggregation or aggregation, mean_terms, reference
        self.num_processes, self.process_index = optimizer.num_processes, int(optimizer.accelerator.process_index)
        self.lengths = term_lengths(terms, dataset)
        self._counts = {i: sum(dataset.examples[i].loss_mask[1:]) for term in terms for i in term.episodes}
        self._trained_tokens = [sum(self._counts[i] for i in term.episodes) for term in terms]

    def trained_tokens(self, step: Sequence[int]) -> int:
        """The trained tokens of these terms, over all processes."""
        return sum(self._trained_tokens[i] for i in step)

    def divisor(self, step: Sequence[int]) -> float:
        """What the step's sum is divided by: its trained tokens, or the same number for every step, so that all terms count alike."""
        by_term = self.rule.averages_terms or self.aggregation == "sequence_mean"
        return self.mean_terms if by_term else self.trained_tokens(step)

    def split(self, step: Sequence[int]) -> list[TermMicroBatch]:
        """As many micro-batches as every other process has; one without terms holds a term that counts nothing."""
        shares = split_balanced(step, [self.lengths[i] for i in step], self.num_processes)
        filled = [self._fill(share) for share in shares]
        missing = max(map(len, filled)) - len(filled[self.process_index])
        parts = [self._term_batch(part) for part in filled[self.process_index]]
        return parts + [self._term_batch(step[:1], scale=0.0)] * missing

    def _fill(self, share: Sequence[int]) -> list[list[int]]:
        """A process's terms in parts of at most `micro_batch_tokens` tokens, padding included; a longer term is a part of its own."""
        if self.micro_batch_tokens is None:
            return [list(share)] if share else []
        parts: list[list[int]] = []
        rows = longest = tokens = 0  # of the last part
        for term in share:
            lengths = [len(self.dataset.examples[i].token_ids) for i in self.terms[term].episodes]
            rows, longest, tokens = rows + len(lengths), max(longest, *lengths), tokens + sum(lengths)
            if parts and (tokens if self.pad_id is None else rows * padded_length(longest)) <= self.micro_batch_tokens:
                parts[-1].append(term)
            else:
                parts.append([term])
                rows, longest, tokens = len(lengths), max(lengths), sum(lengths)
        return parts

    def _term_batch(self, indices: Sequence[int], scale: float = 1.0) -> TermMicroBatch:
        terms = [self.terms[i] for i in indices]
        episodes = [i for term in terms for i in term.episodes]
        counts = [self._counts[i] for i in episodes]
        weights = [term.weight for term in terms for _ in term.episodes]
        if self.aggregation == "sequence_mean":
            weights = [weight / count for weight, count in zip(weights, counts, strict=True)]
        examples = [(self.dataset.examples[i], weight) for i, weight in zip(episodes, weights, strict=True)]
        batch = PackedBatch.from_examples(examples) if self.pad_id is None else PaddedBatch.from_examples(examples, self.pad_id)
        reference = None if self.reference is None else torch.cat([self.reference[i] for i in episodes])
        return TermMicroBatch(self.rule, terms, batch, counts, self.aggregation, reference, scale)


def usable_terms(rule: LearningRule, dataset: TokenizedDataset, max_tokens: int) -> tuple[list[LossTerm], list[str]]:
    """The rule's terms of episodes that have at most `max_tokens` tokens, some of them in the loss; and the item ids of those too long.

    Nothing predicts the first token of an episode, so it is never in the loss.
    """
    fits = [len(example.token_ids) <= max_tokens for example in dataset.examples]
    usable = [fitting and any(example.loss_mask[1:]) for fitting, example in zip(fits, dataset.examples, strict=True)]
    terms = [term for term in rule.loss_terms(dataset, usable) if term.weight and all(usable[i] for i in term.episodes)]
    return terms, [item_id for fitting, item_id in zip(fits, dataset.item_ids, strict=True) if not fitting]


def term_lengths(terms: Sequence[LossTerm], dataset: TokenizedDataset) -> list[int]:
    """The tokens of each term's episodes."""
    return [sum(len(dataset.examples[i].token_ids) for i in term.episodes) for term in terms]

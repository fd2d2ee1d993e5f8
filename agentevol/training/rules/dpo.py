"""Trajectory-level DPO on pairs of a success and a failure of the same instruction (ETO, arXiv 2403.02502).

The loss of a pair (τ_w, τ_l), with log π(τ) the sum over the policy's own tokens of τ and π_ref the policy that training starts from:

    -log σ(β · [log π(τ_w) - log π_ref(τ_w) - log π(τ_l) + log π_ref(τ_l)]) - α · log π(τ_w) / |τ_w|

The first part is ETO's; the second, a likelihood term per token of the success, keeps its probability from falling together with that of
the failure (arXiv 2404.19733). All pairs count the same. With `length_normalized` each log π(τ) of the first part is a mean
over the tokens of τ instead of a sum (Tülu 3, arXiv 2411.15124).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from agentevol.training.rules.learning_rule import LearningRule, LossTerm, TermBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from agentevol.training.tokenized_dataset import TokenizedDataset


@dataclass(frozen=True)
class DPO(LearningRule):
    """Each term is a pair (success, failure). `beta`, `likelihood_weight`: β and α above."""

    beta: float = 0.1
    likelihood_weight: float = 1.0
    max_pairs_per_instruction: int | None = 4
    length_normalized: bool = False

    averages_terms: ClassVar[bool] = True
    compares_episodes: ClassVar[bool] = True
    uses_reference: ClassVar[bool] = True
    uses_rewards: ClassVar[bool] = False
    requirement: ClassVar[str] = (
        "dpo needs an instruction with both a success and a failure; raise evolve.samples or explore.temperature,"
        " or merge with the expert set (evolve.merge)"
    )

    def loss_terms(self, dataset: TokenizedDataset, usable: Sequence[bool]) -> list[LossTerm]:
        """At most `max_pairs_per_instruction` pairs of each instruction, with as many different episodes among them as possible."""
        groups: dict[str, tuple[list[int], list[int]]] = {}
        for index, (item_id, success) in enumerate(zip(dataset.item_ids, dataset.successes, strict=True)):
            if usable[index]:
                groups.setdefault(item_id, ([], []))[not success].append(index)
        pairs = (islice(_pairs(*group), self.max_pairs_per_instruction) for group in groups.values())
        return [LossTerm(pair) for instruction in pairs for pair in instruction]

    def counts(self, dataset: TokenizedDataset, terms: Sequence[LossTerm]) -> dict[str, int]:
        with_pairs = {dataset.item_ids[term.episodes[0]] for term in terms}
        return {"pairs": len(terms), "instructions_without_pairs": len(set(dataset.item_ids) - with_pairs)}

    def loss(self, batch: TermBatch, model: Any, device: torch.device) -> Tensor:
        from torch.nn.functional import logsigmoid

        logprobs = batch.logprobs(model, device)
        combine = batch.episode_means if self.length_normalized else batch.episode_sums
        log_ratios = combine(logprobs - batch.reference_logprobs(logprobs))
        losses = -logsigmoid(self.beta * (log_ratios[0::2] - log_ratios[1::2]))
        if self.likelihood_weight:
            losses = losses - self.likelihood_weight * batch.episode_means(logprobs)[0::2]
        return losses.sum()


def _pairs(successes: Sequence[int], failures: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs; those of one round through the longer list, each with another partner, before those of the next."""
    longer, shorter = max(len(successes), len(failures)), min(len(successes), len(failures))
    return [
        (successes[i % len(successes)], failures[(i + shift) % len(failures)])
        if len(successes) >= len(failures)
        else (successes[(i + shift) % len(successes)], failures[i])
        for shift in range(shorter)
        for i in range(longer)
    ]

"""How a step is split into micro-batches: within the limit, without passes that count nothing, and the same number for every process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from agentevol.chat.tokenize import TokenizedExample
from agentevol.training.rules import LossTerm, load_rule
from agentevol.training.term_batch import TermBatcher, TermMicroBatch
from agentevol.training.tokenized_dataset import TokenizedDataset


def batcher(terms: Sequence[Sequence[int]], limit: int | None, *, packed: bool = True, processes: int = 1, index: int = 0) -> TermBatcher:
    """Of terms with episodes of so many tokens, in one of so many processes."""
    lengths = [length for term in terms for length in term]
    dataset = TokenizedDataset("", [TokenizedExample([1] * length, [True] * length) for length in lengths])
    numbers = iter(range(len(lengths)))
    loss_terms = [LossTerm(tuple(next(numbers) for _ in term)) for term in terms]
    optimizer: Any = SimpleNamespace(num_processes=processes, accelerator=SimpleNamespace(process_index=index))
    options: dict[str, Any] = {"aggregation": "token_mean", "mean_terms": 1.0, "reference": None, "optimizer": optimizer}
    return TermBatcher(load_rule("threshold"), loss_terms, dataset, pad_id=None if packed else 0, micro_batch_tokens=limit, **options)


def tokens(parts: Sequence[TermMicroBatch]) -> list[int]:
    """The tokens of each forward pass, padding included."""
    return [part.batch.ids.numel() for part in parts]


@pytest.mark.parametrize(
    ("terms", "limit", "expected"),
    [
        ([[1200]], 300, [1200]),
        ([[900, 900]], 512, [1800]),
        ([[502], [998], [998], [502]], 1000, [502, 998, 998, 502]),
        ([[300], [300], [300], [300]], 600, [600, 600]),
        ([[300], [300]], None, [600]),
    ],
)
def test_a_pass_has_at_most_the_limit_and_a_longer_term_one_of_its_own(
    terms: list[list[int]], limit: int | None, expected: list[int]
) -> None:
    parts = batcher(terms, limit).split(range(len(terms)))
    assert tokens(parts) == expected
    assert all(part.scale == 1.0 for part in parts), "none of them counts nothing"


@pytest.mark.parametrize("packed", [True, False])
def test_no_step_has_a_pass_above_the_limit(packed: bool) -> None:
    draw = random.Random(0)
    for _ in range(50):
        terms = [[draw.randint(100, 1200)] for _ in range(7)]
        parts = batcher(terms, 1500, packed=packed).split(range(7))
        assert max(tokens(parts)) <= 1500
        assert sum(len(part.terms) for part in parts) == 7


def test_every_process_has_as_many_passes_and_each_term_counts_once() -> None:
    terms, counted = [[1000], [200], [200], [200], [900]], 0
    shares = [batcher(terms, 600, processes=2, index=index).split(range(5)) for index in (0, 1)]
    assert len(shares[0]) == len(shares[1]) > 1
    for share in shares:
        counted += sum(len(part.terms) for part in share if part.scale)
    assert counted == 5
    alone = [batcher([[700]], None, processes=2, index=index).split([0])[0].scale for index in (0, 1)]
    assert sorted(alone) == [0.0, 1.0], "a process without a term goes along with one that counts nothing"

"""The log-probabilities of the policy that a training starts from, for rules that compare the trained policy with it.

Invariant: they are computed before the first step, once per content of policy and data, and a training that continues from a checkpoint
reads those that it began with. A file that cannot be read is written again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agentevol.data.artifact_folder import digest_json
from agentevol.training.optimizer import Optimizer
from agentevol.training.packing import PackedBatch
from agentevol.training.padding import PaddedBatch
from agentevol.training.tokenized_dataset import TokenizedDataset

_VERSION = 1


def reference_logprobs(
    optimizer: Optimizer,
    dataset: TokenizedDataset,
    episodes: Sequence[int],
    *,
    pad_id: int | None,
    tokens: int,
    policy_digest: str,
    cache_folder: Path | None,
) -> dict[int, Tensor]:
    """For each of these episodes: log p of its trained tokens under the optimizer's model as it is now, float32 [trained tokens].

    tokens: those of a forward pass, about. pad_id: as in TermBatcher. cache_folder: where the result is read from or else written to, named
    by the model (`policy_digest`), the data with its tokenizer, the episodes and the precision; None: it is not cached.
    """
    key = digest_json([_VERSION, policy_digest, dataset.key, list(episodes), optimizer.uses_bfloat16])
    file = cache_folder / f"{key}.safetensors" if cache_folder else None
    counts = [sum(dataset.examples[i].loss_mask[1:]) for i in episodes]
    flat = _read(file, sum(counts)) if file else None
    if flat is None:
        flat = torch.cat([_logprobs(optimizer, dataset, group, pad_id) for group in _groups(dataset, episodes, tokens)])
        if file and optimizer.accelerator.is_main_process:
            file.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own: another run in the same folder may compute the same values at the same time.
            temporary = file.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
            save_file({"logprobs": flat}, temporary)
            temporary.replace(file)
    return dict(zip(episodes, torch.split(flat, counts), strict=True))


def _logprobs(optimizer: Optimizer, dataset: TokenizedDataset, episodes: Sequence[int], pad_id: int | None) -> Tensor:
    examples = [(dataset.examples[i], 1.0) for i in episodes]
    return optimizer.logprobs(PackedBatch.from_examples(examples) if pad_id is None else PaddedBatch.from_examples(examples, pad_id))


def _groups(dataset: TokenizedDataset, episodes: Sequence[int], tokens: int) -> list[list[int]]:
    """Consecutive episodes of at most `tokens` tokens together, or one that is longer."""
    groups: list[list[int]] = []
    length = 0
    for index in episodes:
        length += len(dataset.examples[index].token_ids)
        if not groups or length > tokens:
            groups.append([])
            length = len(dataset.examples[index].token_ids)
        groups[-1].append(index)
    return groups


def _read(file: Path, count: int) -> Tensor | None:
    try:
        logprobs = load_file(file)["logprobs"]
    except (OSError, SafetensorError, KeyError):
        return None
    return logprobs if logprobs.shape == (count,) else None

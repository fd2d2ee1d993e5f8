"""The trajectories of a dataset as token ids, cached on the disk.

Invariant: a cache file is named by the content of the dataset and of the tokenizer, and holds only what training needs: ids, loss flags,
rewards, item ids, successes, recorded log-probabilities. A file that cannot be read is written again. A token takes five bytes, in
memory and in the file.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agentevol.chat.load import TOKENIZER_FILES, load_chat_tokenizer
from agentevol.chat.tokenize import TokenizedExample
from agentevol.data.artifact_folder import digest_json, sha256_file
from agentevol.data.dataset import open_dataset, stream_dataset
from agentevol.data.episode_reward import Objective, episode_reward
from agentevol.data.trajectory import TEXT_ONLY, Trajectory, content_digest

_VERSION = 2


@dataclass(frozen=True, slots=True)
class TokenizedDataset:
    """Every trajectory's ids with loss flags, its reward, its item id and whether it is a success, in the dataset's order.

    `key` names the content. `logprobs`: of each trajectory's trained tokens as they were recorded when they were sampled, else empty.
    """

    key: str
    examples: list[TokenizedExample] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    item_ids: list[str] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    logprobs: list[Sequence[float]] = field(default_factory=list)


def tokenize_dataset(
    data: Sequence[Trajectory] | Path,
    base: Path,
    cache_folder: Path | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
) -> TokenizedDataset:
    """Tokenise trajectories, or the dataset in a folder, with the tokenizer of the model in `base`.

    cache_folder: where the result is read from or else written to; None: it is not cached. template_kwargs: variables of the chat template.
    objective: what the rewards are made of (episode_reward); None: the environments' own rewards.
    """
    digest = open_dataset(data).digest if isinstance(data, Path) else content_digest(data)
    tokenizer = {name: sha256_file(base / name) for name in TOKENIZER_FILES if (base / name).is_file()}
    chat = load_chat_tokenizer(base, template_kwargs)
    chat_format = {"chat": chat.format_key()} if chat.format_key() else {}
    rewards = {"objective": dict(objective)} if objective is not None else {}
    key = digest_json({"version": _VERSION, "data": digest, "tokenizer": tokenizer, **chat_format, **rewards})
    file = cache_folder / f"{key}.safetensors" if cache_folder else None
    if file is not None and (cached := _read(file, key)) is not None:
        return cached
    dataset = TokenizedDataset(key)
    for trajectory in stream_dataset(data) if isinstance(data, Path) else data:
        dataset.examples.append(_compact(chat.tokenize_trajectory(trajectory)))
        dataset.rewards.append(episode_reward(trajectory, objective))
        # Conversations of different files have the same ids, but no instruction in common.
        number = f"#{len(dataset.item_ids)}" if trajectory.env == TEXT_ONLY else ""
        dataset.item_ids.append(trajectory.item_id + number)
        dataset.successes.append(trajectory.success)
        # Without the recorded ids the text may have become other tokens than those that were sampled.
        recorded = trajectory.token_logprobs if trajectory.token_ids is not None else None
        dataset.logprobs.append(array("f", recorded or ()))
    if file is not None:
        _write(file, dataset)
    return dataset


def _write(file: Path, dataset: TokenizedDataset) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{torch.randint(1 << 40, (), generator=_own_generator()).item()}.tmp")
    save_file(
        {
            "ids": torch.from_numpy(_concatenated([example.token_ids for example in dataset.examples], np.int32)),
            "loss": torch.from_numpy(_concatenated([example.loss_mask for example in dataset.examples], np.int8)).bool(),
            "sizes": torch.tensor([len(example.token_ids) for example in dataset.examples], dtype=torch.int64),
            "rewards": torch.tensor(dataset.rewards, dtype=torch.float64),
            "successes": torch.tensor(dataset.successes, dtype=torch.bool),
            "logprobs": torch.from_numpy(_concatenated(dataset.logprobs, np.float32)),
            "logprob_sizes": torch.tensor([len(values) for values in dataset.logprobs], dtype=torch.int64),
        },
        temporary,
        metadata={"item_ids": json.dumps(dataset.item_ids)},
    )
    temporary.replace(file)


def _read(file: Path, key: str) -> TokenizedDataset | None:
    try:
        with safe_open(file, framework="pt") as tensors:
            ids, loss = tensors.get_tensor("ids").numpy(), tensors.get_tensor("loss").to(torch.int8).numpy()
            lengths, rewards = tensors.get_tensor("sizes").tolist(), tensors.get_tensor("rewards").tolist()
            successes = tensors.get_tensor("successes").tolist()
            sizes = tensors.get_tensor("logprob_sizes").tolist()
            logprobs: list[Sequence[float]] = [
                array("f", part.tobytes()) for part in np.split(tensors.get_tensor("logprobs").numpy(), np.cumsum(sizes)[:-1])
            ]
            item_ids = json.loads(tensors.metadata()["item_ids"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    examples, start = [], 0
    for length in lengths:
        example_ids, flags = ids[start : start + length], loss[start : start + length]
        examples.append(TokenizedExample(array("i", example_ids.tobytes()), array("b", flags.tobytes())))
        start += length
    return TokenizedDataset(key, examples, rewards, item_ids, successes, logprobs[: len(examples)])


def _compact(example: TokenizedExample) -> TokenizedExample:
    return TokenizedExample(array("i", example.token_ids), array("b", example.loss_mask))


def _concatenated(arrays: Sequence[Sequence[float]], dtype: type[np.number[Any]]) -> NDArray[np.number[Any]]:
    return np.concatenate([np.asarray(values, dtype=dtype) for values in arrays]) if arrays else np.zeros(0, dtype=dtype)


def _own_generator() -> torch.Generator:
    """A generator apart from the global one: naming a temporary file must not change the random numbers of the training."""
    generator = torch.Generator()
    generator.seed()
    return generator

"""The trajectories of a dataset as token ids, made once for a tokenizer and kept by hash.

Invariant: a kept file is named by the content of the dataset and of the tokenizer, and holds what learning needs and nothing else: ids,
loss flags, rewards, item ids. What cannot be read is made again. A token takes five bytes, here and in the file, however many there are.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agentevol.chat.tokenize import ChatTokenizer, TokenizedExample
from agentevol.data.artifact_folder import digest_json, sha256_file
from agentevol.data.dataset import open_dataset, stream_dataset
from agentevol.data.trajectory import Trajectory, content_digest
from agentevol.models import load_tokenizer

_VERSION = 1
_OF_THE_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class TokenizedDataset:
    """Every trajectory's ids with loss flags, its reward and its item id, in the dataset's order; `key` names the content."""

    key: str
    encoded: list[TokenizedExample]
    rewards: list[float]
    item_ids: list[str]


def tokenize_dataset(data: Sequence[Trajectory] | Path, base: Path, kept: Path | None = None) -> TokenizedDataset:
    """The tokens of trajectories, or of the dataset in a folder; from `kept` where they are there, else they are put there."""
    digest = open_dataset(data).digest if isinstance(data, Path) else content_digest(data)
    tokenizer = {name: sha256_file(base / name) for name in _OF_THE_TOKENIZER if (base / name).is_file()}
    key = digest_json({"version": _VERSION, "data": digest, "tokenizer": tokenizer})
    file = kept / f"{key}.safetensors" if kept else None
    if file is not None and (found := _read(file, key)) is not None:
        return found
    chat, made = ChatTokenizer(load_tokenizer(base)), TokenizedDataset(key, [], [], [])
    for trajectory in stream_dataset(data) if isinstance(data, Path) else data:
        made.encoded.append(_compact(chat.tokenize_trajectory(trajectory)))
        made.rewards.append(trajectory.reward)
        made.item_ids.append(trajectory.item_id)
    if file is not None:
        _write(file, made)
    return made


def _write(file: Path, tokens: TokenizedDataset) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{torch.randint(1 << 40, (), generator=_fresh()).item()}.tmp")
    save_file(
        {
            "ids": torch.from_numpy(_joined([row.token_ids for row in tokens.encoded], np.int32)),
            "loss": torch.from_numpy(_joined([row.loss_mask for row in tokens.encoded], np.int8)).bool(),
            "sizes": torch.tensor([len(row.token_ids) for row in tokens.encoded], dtype=torch.int64),
            "rewards": torch.tensor(tokens.rewards, dtype=torch.float64),
        },
        temporary,
        metadata={"item_ids": json.dumps(tokens.item_ids)},
    )
    temporary.replace(file)


def _compact(encoded: TokenizedExample) -> TokenizedExample:
    return TokenizedExample(array("i", encoded.token_ids), array("b", encoded.loss_mask))


def _joined(rows: Sequence[Sequence[int]], kind: type[np.integer]) -> NDArray[np.integer]:
    return np.concatenate([np.asarray(row, dtype=kind) for row in rows]) if rows else np.zeros(0, dtype=kind)


def _fresh() -> torch.Generator:
    generator = torch.Generator()  # of its own: a file's name must not move the random numbers of a training
    generator.seed()
    return generator


def _read(file: Path, key: str) -> TokenizedDataset | None:
    try:
        with safe_open(file, framework="pt") as kept:
            ids, loss = kept.get_tensor("ids").numpy(), kept.get_tensor("loss").to(torch.int8).numpy()
            sizes, rewards = kept.get_tensor("sizes").tolist(), kept.get_tensor("rewards").tolist()
            item_ids = json.loads(kept.metadata()["item_ids"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    encoded, place = [], 0
    for size in sizes:
        row, flags = ids[place : place + size], loss[place : place + size]
        encoded.append(TokenizedExample(array("i", row.tobytes()), array("b", flags.tobytes())))
        place += size
    return TokenizedDataset(key, encoded, rewards, item_ids)

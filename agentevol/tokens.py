"""The trajectories of a dataset as token ids, made once for a tokenizer and kept by hash.

Invariant: a kept file is named by the content of the dataset and of the tokenizer, and holds what learning needs and nothing else: ids,
loss flags, rewards, item ids. What cannot be read is made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agentevol.chat import Chat, Encoded
from agentevol.folders import digest_json, sha256_file
from agentevol.models import load_tokenizer
from agentevol.storage import open_dataset, stream_dataset
from agentevol.trajectory import Trajectory, content_digest

_VERSION = 1
_OF_THE_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every trajectory's ids with loss flags, its reward and its item id, in the dataset's order; `key` names the content."""

    key: str
    encoded: list[Encoded]
    rewards: list[float]
    item_ids: list[str]


def tokens_of(data: Sequence[Trajectory] | Path, base: Path, kept: Path | None = None) -> Tokens:
    """The tokens of trajectories, or of the dataset in a folder; from `kept` where they are there, else they are put there."""
    digest = open_dataset(data).digest if isinstance(data, Path) else content_digest(data)
    tokenizer = {name: sha256_file(base / name) for name in _OF_THE_TOKENIZER if (base / name).is_file()}
    key = digest_json({"version": _VERSION, "data": digest, "tokenizer": tokenizer})
    file = kept / f"{key}.safetensors" if kept else None
    if file is not None and (found := _read(file, key)) is not None:
        return found
    chat, made = Chat(load_tokenizer(base)), Tokens(key, [], [], [])
    for trajectory in stream_dataset(data) if isinstance(data, Path) else data:
        made.encoded.append(chat.encode_trajectory(trajectory))
        made.rewards.append(trajectory.reward)
        made.item_ids.append(trajectory.item_id)
    if file is not None:
        _write(file, made)
    return made


def _write(file: Path, tokens: Tokens) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{torch.randint(1 << 40, (), generator=_fresh()).item()}.tmp")
    save_file(
        {
            "ids": torch.tensor([token for row in tokens.encoded for token in row.ids], dtype=torch.int32),
            "loss": torch.tensor([flag for row in tokens.encoded for flag in row.loss], dtype=torch.bool),
            "sizes": torch.tensor([len(row.ids) for row in tokens.encoded], dtype=torch.int64),
            "rewards": torch.tensor(tokens.rewards, dtype=torch.float64),
        },
        temporary,
        metadata={"item_ids": json.dumps(tokens.item_ids)},
    )
    temporary.replace(file)


def _fresh() -> torch.Generator:
    generator = torch.Generator()  # of its own: a file's name must not move the random numbers of a training
    generator.seed()
    return generator


def _read(file: Path, key: str) -> Tokens | None:
    try:
        with safe_open(file, framework="pt") as kept:
            ids, loss, rewards = (kept.get_tensor(name).tolist() for name in ("ids", "loss", "rewards"))
            sizes, item_ids = kept.get_tensor("sizes").tolist(), json.loads(kept.metadata()["item_ids"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    encoded, place = [], 0
    for size in sizes:
        encoded.append(Encoded(ids[place : place + size], loss[place : place + size]))
        place += size
    return Tokens(key, encoded, rewards, item_ids)

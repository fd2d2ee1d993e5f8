"""The loops that rollouts are compared with: whole histories through the model again at every turn, one at a time or in lock-step.

Invariant: the same instructions, sampling and limits as ours, so that the answers are the same and only the way to them differs.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch

import envs
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.react import first_message
from agentevol.models import load_model, load_tokenizer
from agentevol.settings.schema import RolloutParams


class History:
    """An episode as the plain loops hold it: every token so far."""

    def __init__(self, instruction: envs.Instruction, chat: ChatTokenizer, settings: RolloutParams, server: str | None = None) -> None:
        self.world, self.chat, self.settings = envs.make(instruction.env, server=server), chat, settings
        observation, _ = self.world.reset(options={"item_id": instruction.item_id})
        self.ids = chat.tokenize_prompt(first_message(self.world.prompt, observation))
        self.answers: list[str] = []
        self.exchanges: list[tuple[str, str]] = []
        self.over = self._full()

    def hear(self, answer: list[int]) -> None:
        text = self.chat.decode(answer)
        self.answers.append(text)
        observation, _, terminated, truncated, _ = self.world.answer(text)
        self.exchanges.append((text, observation))
        last = self.exchanges[-(self.settings.repeats or 0) :]
        looping = self.settings.repeats is not None and len(last) == self.settings.repeats and len(set(last)) == 1
        self.ids += (
            answer
            + ([] if answer[-1] in self.chat.stop_token_ids else [self.chat.end_token_id])
            + self.chat.tokenize_observation(observation)
        )
        self.over = terminated or truncated or looping or self._full()

    def _full(self) -> bool:
        return len(self.ids) + self.settings.max_new_tokens > self.settings.context


def plainly(folder: Path, work: list[envs.Instruction], settings: RolloutParams, batch: int, server: str | None = None) -> list[History]:
    """Whole histories through `generate` at every turn, `batch` episodes in lock-step, left-padded; then the next batch.

    With `server` every step is a request to it.
    """
    model, chat = load_model(folder), ChatTokenizer(load_tokenizer(folder))
    played: list[History] = []
    for first in range(0, len(work), batch):
        group = [History(instruction, chat, settings, server) for instruction in work[first : first + batch]]
        while live := [episode for episode in group if not episode.over]:
            width = max(len(episode.ids) for episode in live)
            pad = [width - len(episode.ids) for episode in live]
            prompt = torch.tensor([[chat.end_token_id] * missing + episode.ids for missing, episode in zip(pad, live, strict=True)])
            mask = torch.tensor([[0] * missing + [1] * (width - missing) for missing in pad])
            out = model.generate(
                prompt,
                attention_mask=mask,
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                eos_token_id=list(chat.stop_token_ids),
                pad_token_id=chat.end_token_id,
            )
            for episode, row in zip(live, out[:, width:].tolist(), strict=True):
                end = next((index + 1 for index, token in enumerate(row) if token in chat.stop_token_ids), len(row))
                episode.hear(row[:end])
        for episode in group:
            episode.world.close()
        played += group
    return played


@contextlib.contextmanager
def served(names: list[str]) -> Iterator[str]:
    """`agentevol serve` in a process of its own, with these environments; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", url.rpartition(":")[2]]
    command += [word for name in names for word in ("-e", name)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()

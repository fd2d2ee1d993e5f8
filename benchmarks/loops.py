"""The loops that rollouts are compared with: without a KV cache between rounds, one episode at a time or in lock-step batches.

Invariant: instructions, sampling and limits are the same as in our rollout, so the answers are the same and only the speed differs.
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
from agentevol.settings.rollout import RolloutParams


class UncachedEpisode:
    """An episode as the loops without a cache hold it: every token so far."""

    def __init__(self, instruction: envs.Instruction, chat: ChatTokenizer, settings: RolloutParams, server: str | None = None) -> None:
        self.env, self.chat, self.settings = envs.make(instruction.env, server=server), chat, settings
        observation, _ = self.env.reset(options={"item_id": instruction.item_id})
        self.token_ids = chat.tokenize_prompt(first_message(self.env.prompt, observation))
        self.answers: list[str] = []
        self.rounds: list[tuple[str, str]] = []
        self.over = self._context_is_full()

    def step(self, answer_ids: list[int]) -> None:
        answer = self.chat.decode(answer_ids)
        self.answers.append(answer)
        observation, _, terminated, truncated, _ = self.env.answer(answer)
        self.rounds.append((answer, observation))
        max_repeats = self.settings.max_repeats
        last = self.rounds[-(max_repeats or 0) :]
        looping = max_repeats is not None and len(last) == max_repeats and len(set(last)) == 1
        end = [] if answer_ids[-1] in self.chat.stop_token_ids else [self.chat.end_token_id]
        self.token_ids += answer_ids + end + self.chat.tokenize_observation(observation)
        self.over = terminated or truncated or looping or self._context_is_full()

    def _context_is_full(self) -> bool:
        return len(self.token_ids) + self.settings.max_new_tokens > self.settings.context_length


def roll_out_uncached(
    model_folder: Path, work: list[envs.Instruction], settings: RolloutParams, batch_size: int, server: str | None = None
) -> list[UncachedEpisode]:
    """The whole history through `generate` in every round: `batch_size` episodes in lock-step, left-padded, then the next batch.

    With `server`, every step is a request to it.
    """
    model, chat = load_model(model_folder), ChatTokenizer(load_tokenizer(model_folder))
    episodes: list[UncachedEpisode] = []
    for first in range(0, len(work), batch_size):
        batch = [UncachedEpisode(instruction, chat, settings, server) for instruction in work[first : first + batch_size]]
        while running := [episode for episode in batch if not episode.over]:
            width = max(len(episode.token_ids) for episode in running)
            padding = [width - len(episode.token_ids) for episode in running]
            input_ids = [[chat.end_token_id] * pad + episode.token_ids for pad, episode in zip(padding, running, strict=True)]
            output = model.generate(
                torch.tensor(input_ids),
                attention_mask=torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding]),
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                eos_token_id=list(chat.stop_token_ids),
                pad_token_id=chat.end_token_id,
            )
            for episode, row in zip(running, output[:, width:].tolist(), strict=True):
                end = next((index + 1 for index, token in enumerate(row) if token in chat.stop_token_ids), len(row))
                episode.step(row[:end])
        for episode in batch:
            episode.env.close()
        episodes += batch
    return episodes


@contextlib.contextmanager
def serve_environments(names: list[str]) -> Iterator[str]:
    """`agentevol serve` in its own process, with these environments; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", url.rpartition(":")[2]]
    command += [word for name in names for word in ("-e", name)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()

"""Rollouts against the plainest loop: `python -m benchmarks.rollout [model folder] [episodes]`.

The plain loop is AgentGym's way: one episode at a time, the whole history through the model again at every turn. Same model, same
instructions, greedy, one run; the cached loop's answers are checked to be the same. Prints episodes/s of both and their ratio.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import envs
from agentevol.chat import Chat, first_message
from agentevol.models import load_model, load_tokenizer
from agentevol.rollout import roll_out


@dataclass(frozen=True)
class Settings:
    slots: int = 64
    max_new_tokens: int = 224
    context: int = 2048
    retries: int = 0
    repeats: int | None = None
    workers: int = 2


def sequential(folder: Path, work: list[envs.Instruction]) -> list[list[str]]:
    """The answers of every episode, each turn by `generate` over the whole history."""
    model, chat = load_model(folder), Chat(load_tokenizer(folder))
    said = []
    for instruction in work:
        world = envs.make(instruction.env)
        observation, _ = world.reset(options={"item_id": instruction.item_id})
        ids = chat.opening(first_message(world.prompt, observation))
        answers: list[str] = []
        over = False
        while not over and len(ids) < Settings.context - Settings.max_new_tokens:
            prompt = torch.tensor([ids])
            out = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=Settings.max_new_tokens,
                do_sample=False,
                eos_token_id=list(chat.stop_ids),
                pad_token_id=chat.end_id,
            )
            answer = out[0, len(ids) :].tolist()
            answers.append(chat.text(answer))
            observation, _, terminated, truncated, _ = world.answer(answers[-1])
            over = terminated or truncated
            ids += answer + ([] if answer[-1] in chat.stop_ids else [chat.end_id]) + chat.observation(observation)
        said.append(answers)
    return said


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "models/base")
    episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    pools = [envs.environment_class(name).instructions("eval") for name in envs.ENVIRONMENTS]
    work = [instruction for group in zip(*pools, strict=False) for instruction in group][:episodes]
    few = work[: max(4, episodes // 8)]  # the plain loop is too slow for all of them
    began = time.perf_counter()
    plain = sequential(folder, few)
    plain_rate = len(few) / (time.perf_counter() - began)
    began = time.perf_counter()
    played = roll_out(folder, work, settings=Settings())
    seconds = time.perf_counter() - began
    same = sum(
        [message.content for message in one.messages if message.role == "assistant"][: len(said)] == said
        for one, said in zip(played, plain, strict=False)
    )
    tokens = sum(one.tokens for one in played)
    chosen = sum(sum(one.loss_mask or []) for one in played)
    print(f"plain loop     {plain_rate:8.2f} episodes/s  ({len(few)} episodes)")
    print(f"{Settings.slots} slots       {len(work) / seconds:8.2f} episodes/s  ({len(work)} episodes)")
    print(f"               {tokens / seconds:8.0f} tokens/s, of which sampled {chosen / seconds:.0f}")
    print(f"ratio          {len(work) / seconds / plain_rate:8.1f}       same answers: {same} of {len(few)}")


if __name__ == "__main__":
    main()

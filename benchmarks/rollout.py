"""Rollouts three ways on the same work: `python -m benchmarks.rollout [--model FOLDER] [--episodes N]`.

- sequential, AgentGym's way: one episode at a time, the whole history through the model again at every turn;
- lock-step, AgentGym-RL's way: a batch of 64 whose members wait for the longest answer of each turn and for the last episode of the batch;
- ours: 64 slots in as many processes as the parameters say, and the same in one process, for where its time goes.
Same model, same instructions, greedy, same limits, one run. The sequential loop plays a part of the episodes, spread evenly over them all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import envs
from agentevol.chat import Chat, first_message
from agentevol.engine import TransformersEngine
from agentevol.models import load_model, load_tokenizer
from agentevol.rollout import GREEDY, Rollout, roll_out
from agentevol.settings import RolloutParams

SLOTS = 64


class History:
    """An episode as the plain loops hold it: every token so far."""

    def __init__(self, instruction: envs.Instruction, chat: Chat, settings: RolloutParams) -> None:
        self.world, self.chat, self.settings = envs.make(instruction.env), chat, settings
        observation, _ = self.world.reset(options={"item_id": instruction.item_id})
        self.ids = chat.opening(first_message(self.world.prompt, observation))
        self.answers: list[str] = []
        self.exchanges: list[tuple[str, str]] = []
        self.over = self._full()

    def hear(self, answer: list[int]) -> None:
        text = self.chat.text(answer)
        self.answers.append(text)
        observation, _, terminated, truncated, _ = self.world.answer(text)
        self.exchanges.append((text, observation))
        last = self.exchanges[-(self.settings.repeats or 0) :]
        looping = self.settings.repeats is not None and len(last) == self.settings.repeats and len(set(last)) == 1
        self.ids += answer + ([] if answer[-1] in self.chat.stop_ids else [self.chat.end_id]) + self.chat.observation(observation)
        self.over = terminated or truncated or looping or self._full()

    def _full(self) -> bool:
        return len(self.ids) + self.settings.max_new_tokens > self.settings.context


def plainly(folder: Path, work: list[envs.Instruction], settings: RolloutParams, batch: int) -> list[History]:
    """Whole histories through `generate` at every turn, `batch` episodes in lock-step, left-padded; then the next batch."""
    model, chat = load_model(folder), Chat(load_tokenizer(folder))
    played: list[History] = []
    for first in range(0, len(work), batch):
        group = [History(instruction, chat, settings) for instruction in work[first : first + batch]]
        while live := [episode for episode in group if not episode.over]:
            width = max(len(episode.ids) for episode in live)
            pad = [width - len(episode.ids) for episode in live]
            prompt = torch.tensor([[chat.end_id] * missing + episode.ids for missing, episode in zip(pad, live, strict=True)])
            mask = torch.tensor([[0] * missing + [1] * (width - missing) for missing in pad])
            out = model.generate(
                prompt,
                attention_mask=mask,
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                eos_token_id=list(chat.stop_ids),
                pad_token_id=chat.end_id,
            )
            for episode, row in zip(live, out[:, width:].tolist(), strict=True):
                end = next((index + 1 for index, token in enumerate(row) if token in chat.stop_ids), len(row))
                episode.hear(row[:end])
        played += group
    return played


def where_time_goes(folder: Path, work: list[envs.Instruction], settings: RolloutParams) -> dict[str, float]:
    """Seconds of one process: in all, in the model, in the worlds, and of the same forward passes made again with nothing around them."""
    engine = TransformersEngine(folder, slots=settings.slots, context=settings.context)
    spent = {"model": 0.0, "worlds": 0.0}
    passes: list[tuple[Any, list[int]]] = []

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **options)
            finally:
                spent[what] += time.perf_counter() - began

        return measured

    forward = engine._forward
    engine._forward = timed("model", lambda plan, tokens: passes.append((plan, tokens)) or forward(plan, tokens))  # type: ignore[method-assign]
    plain = envs.TextEnv.answer
    envs.TextEnv.answer = timed("worlds", plain)  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        Rollout(engine, GREEDY, settings, split="eval", policy="benchmark").play([(instruction, 0) for instruction in work])
        spent["in all"] = time.perf_counter() - began
    finally:
        envs.TextEnv.answer = plain  # type: ignore[method-assign]
    began = time.perf_counter()
    with torch.inference_mode():
        for plan, tokens in passes:
            forward(plan, tokens)
    return {**spent, "bare passes": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/base"))
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--sequential", type=int, default=8, help="episodes of the sequential loop")
    parser.add_argument("--environments", nargs="+", default=["babyai", "maze", "textcraft", "wordle"])
    asked = parser.parse_args()
    settings = RolloutParams(slots=SLOTS)
    pools = [envs.environment_class(name).instructions("explore") for name in asked.environments]
    work = [instruction for group in zip(*pools, strict=False) for instruction in group][: asked.episodes]
    roll_out(asked.model, work[: 8 * settings.workers], settings=settings)  # the processes have started and loaded what they need

    def measure(what: str, play: Callable[[], Any], episodes: int) -> tuple[Any, float]:
        began = time.perf_counter()
        played = play()
        rate = episodes / (time.perf_counter() - began)
        print(f"{what:28} {rate:8.2f} episodes/s  ({episodes} episodes)", flush=True)
        return played, rate

    few = list(range(0, len(work), max(1, len(work) // asked.sequential)))
    chosen = [work[index] for index in few]
    ours, fast = measure(f"ours, {settings.workers} processes", lambda: roll_out(asked.model, work, settings=settings), len(work))
    _, locked = measure("lock-step, whole histories", lambda: plainly(asked.model, work, settings, SLOTS), len(work))
    plain, slow = measure("sequential, whole histories", lambda: plainly(asked.model, chosen, settings, 1), len(few))
    said = [[message.content for message in ours[index].messages if message.role == "assistant"] for index in few]
    same = sum(mine[: len(theirs.answers)] == theirs.answers for mine, theirs in zip(said, plain, strict=True))
    rate = fast / len(work)
    print(
        f"ours: {sum(one.tokens for one in ours) * rate:.0f} tokens/s, sampled {sum(sum(one.loss_mask or []) for one in ours) * rate:.0f}"
    )
    print(f"{fast / slow:.1f} times sequential, {fast / locked:.1f} times lock-step; same answers as sequential: {same} of {len(few)}")
    torch.set_num_threads(1)
    spent = where_time_goes(asked.model, work, settings)
    rest = spent["in all"] - spent["model"] - spent["worlds"]
    print("one process: " + ", ".join(f"{what} {value:.1f} s" for what, value in spent.items()) + f", Python {rest:.1f} s")
    print(f"distance to the floor: bare passes are {100 * spent['bare passes'] / spent['in all']:.0f} % of the time")


if __name__ == "__main__":
    main()

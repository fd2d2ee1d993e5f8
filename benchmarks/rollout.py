"""Rollouts three ways on the same work: `python -m benchmarks.rollout [--model FOLDER | --millions N] [--episodes N] [--json FILE]`.

- sequential, AgentGym's way: one episode at a time, whole histories through the model at every turn, every step a request over HTTP;
- lock-step, AgentGym-RL's way: a batch of 64 whose members wait for the longest answer of each turn and for the last episode of the batch;
- ours: 64 slots in as many processes as the parameters say, and the same in one process, for where its time goes.
Same model, same instructions, greedy, same limits, one run. The sequential loop plays a part of the episodes, spread evenly over them all.
`--millions`: a model of random weights of about that size instead (its answers are cut at 32 tokens: it never ends one).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import envs
from agentevol.models import load_tokenizer
from agentevol.rollout.engines.transformers import TransformersEngine
from agentevol.rollout.rollout import GREEDY, Rollout, roll_out
from agentevol.settings.schema import RolloutParams
from benchmarks.loops import plainly, served
from benchmarks.results import record

SLOTS = 64


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


def random_model(folder: Path, like: Path, millions: float) -> Path:
    """A Llama of about `millions` million random weights, twelve layers deep, that speaks the tokens of `like`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(like)
    width = max(64, round((millions * 1e6 / 12 / 12.25) ** 0.5 / 64) * 64)  # a layer: 4 width^2 of attention, 3 x 2.75 of the rest
    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": round(2.75 * width), "num_hidden_layers": 12, "num_attention_heads": width // 64}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, bos_token_id=None, **shape)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/base"))
    parser.add_argument("--millions", type=float)
    parser.add_argument("--episodes", type=int, default=512)
    parser.add_argument("--sequential", type=int, default=16, help="episodes of the sequential loop")
    parser.add_argument("--environments", nargs="+", default=["babyai", "maze", "textcraft", "wordle"])
    parser.add_argument("--json", type=Path, help="a file for the results, for benchmarks.check")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = random_model(Path(place), asked.model, asked.millions) if asked.millions else asked.model
        compare(model, asked)


def compare(model: Path, asked: argparse.Namespace) -> None:
    settings = RolloutParams(slots=SLOTS, max_new_tokens=32 if asked.millions else RolloutParams().max_new_tokens)
    pools = [envs.environment_class(name).instructions("explore") for name in asked.environments]
    work = [instruction for group in zip(*pools, strict=False) for instruction in group][: asked.episodes]
    roll_out(model, work[: 8 * settings.workers], settings=settings)  # the processes have started and loaded what they need

    def measure(what: str, play: Callable[[], Any], episodes: int) -> tuple[Any, float]:
        began = time.perf_counter()
        played = play()
        rate = episodes / (time.perf_counter() - began)
        print(f"{what:38} {rate:8.2f} episodes/s  ({episodes} episodes)", flush=True)
        return played, rate

    few = list(range(0, len(work), max(1, len(work) // asked.sequential)))
    chosen = [work[index] for index in few]
    ours, fast = measure(f"ours, {settings.workers} processes", lambda: roll_out(model, work, settings=settings), len(work))
    _, locked = measure("lock-step, whole histories", lambda: plainly(model, work, settings, SLOTS), len(work))
    with served(asked.environments) as url:
        plain, slow = measure("sequential, whole histories, HTTP", lambda: plainly(model, chosen, settings, 1, url), len(few))
    said = [[message.content for message in ours[index].messages if message.role == "assistant"] for index in few]
    same = sum(mine[: len(theirs.answers)] == theirs.answers for mine, theirs in zip(said, plain, strict=True))
    # What the few episodes have of all tokens: a rate in episodes would go by which ones they are.
    share = sum(ours[index].tokens for index in few) / sum(one.tokens for one in ours)
    against_sequential = fast / slow * share * len(work) / len(few)
    rate = fast / len(work)
    tokens, sampled = sum(one.tokens for one in ours) * rate, sum(sum(one.loss_mask or []) for one in ours) * rate
    print(f"ours: {tokens:.0f} tokens/s, sampled {sampled:.0f}")
    print(f"{against_sequential:.1f} times sequential (by tokens), {fast / locked:.1f} times lock-step")
    print(f"same answers as sequential: {same} of {len(few)}")
    torch.set_num_threads(1)
    spent = where_time_goes(model, work, settings)
    rest = spent["in all"] - spent["model"] - spent["worlds"]
    print("one process: " + ", ".join(f"{what} {value:.1f} s" for what, value in spent.items()) + f", Python {rest:.1f} s")
    print(f"distance to the floor: bare passes are {100 * spent['bare passes'] / spent['in all']:.0f} % of the time")
    floor = spent["bare passes"] / spent["in all"]
    record(
        asked.json,
        f"rollout, {asked.millions:g} million random weights" if asked.millions else "rollout",
        {"sequential": against_sequential, "lock-step": fast / locked, "bare passes": floor},
        {"episodes per second": round(fast, 2), "tokens per second": round(tokens), "sampled tokens per second": round(sampled)},
    )


if __name__ == "__main__":
    main()

"""Rollouts in three ways on the same work: `python -m benchmarks.rollout [--model FOLDER | --millions N] [--episodes N] [--json FILE]`.

- sequential, as in AgentGym: one episode at a time, the whole history through the model in every round, every step an HTTP request;
- lock-step, as in AgentGym-RL: a batch of 64 that waits for the longest answer of each round and for its longest episode;
- ours: 64 slots in `rollout.num_workers` processes; then in one process, to measure where its time goes.
All use the same model, instructions and limits, and greedy decoding. The sequential loop plays an evenly spaced part of the episodes.
`--millions`: use a model of random weights of about that size (its answers are cut at 32 tokens, because it never ends one).
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
from agentevol.rollout.ragged_attention import BatchLayout
from agentevol.rollout.rollout import GREEDY, Rollout, roll_out
from agentevol.settings.rollout import RolloutParams
from benchmarks.loops import roll_out_uncached, serve_environments
from benchmarks.results import record

CONCURRENCY = 64


def profile(model_folder: Path, work: list[envs.Instruction], settings: RolloutParams) -> dict[str, float]:
    """Seconds of a rollout in one process: in total, in the model, in the environments; and of the forward passes alone, run again."""
    engine = TransformersEngine(model_folder, num_slots=settings.concurrency, context_length=settings.context_length)
    seconds = {"model": 0.0, "environments": 0.0}
    passes: list[tuple[BatchLayout, list[int]]] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                seconds[name] += time.perf_counter() - start

        return wrapper

    forward = engine._forward
    engine._forward = timed("model", lambda layout, ids: passes.append((layout, ids)) or forward(layout, ids))  # type: ignore[method-assign]
    answer = envs.TextEnv.answer
    envs.TextEnv.answer = timed("environments", answer)  # type: ignore[method-assign]
    try:
        start = time.perf_counter()
        Rollout(engine, GREEDY, settings, split="eval", policy="benchmark").play([(instruction, 0) for instruction in work])
        seconds["total"] = time.perf_counter() - start
    finally:
        envs.TextEnv.answer = answer  # type: ignore[method-assign]
    start = time.perf_counter()
    with torch.inference_mode():
        for layout, token_ids in passes:
            forward(layout, token_ids)
    return {**seconds, "bare passes": time.perf_counter() - start}


def random_model(folder: Path, tokenizer_folder: Path, millions: float) -> Path:
    """A Llama of twelve layers with about `millions` million random weights and the tokenizer of `tokenizer_folder`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(tokenizer_folder)
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
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(Path(folder), args.model, args.millions) if args.millions else args.model
        compare(model, args)


def compare(model: Path, args: argparse.Namespace) -> None:
    settings = RolloutParams(concurrency=CONCURRENCY, max_new_tokens=32 if args.millions else RolloutParams().max_new_tokens)
    pools = [envs.environment_class(name).instructions("explore") for name in args.environments]
    work = [instruction for group in zip(*pools, strict=False) for instruction in group][: args.episodes]
    roll_out(model, work[: 8 * settings.num_workers], settings=settings)  # warm-up: the processes start and load the model

    def measure(name: str, play: Callable[[], Any], episodes: int) -> tuple[Any, float]:
        """The result, and episodes per second."""
        start = time.perf_counter()
        result = play()
        rate = episodes / (time.perf_counter() - start)
        print(f"{name:38} {rate:8.2f} episodes/s  ({episodes} episodes)", flush=True)
        return result, rate

    part = list(range(0, len(work), max(1, len(work) // args.sequential)))
    part_work = [work[index] for index in part]
    trajectories, rate = measure(f"ours, {settings.num_workers} processes", lambda: roll_out(model, work, settings=settings), len(work))
    _, lock_step_rate = measure(
        "lock-step, whole histories", lambda: roll_out_uncached(model, work, settings, batch_size=CONCURRENCY), len(work)
    )
    with serve_environments(args.environments) as url:
        sequential, sequential_rate = measure(
            "sequential, whole histories, HTTP", lambda: roll_out_uncached(model, part_work, settings, batch_size=1, server=url), len(part)
        )
    answers = [[message.content for message in trajectories[index].messages if message.role == "assistant"] for index in part]
    equal = sum(ours[: len(episode.answers)] == episode.answers for ours, episode in zip(answers, sequential, strict=True))
    # Compared by tokens: a rate in episodes would depend on which episodes the part has.
    token_share = sum(trajectories[index].tokens for index in part) / sum(trajectory.tokens for trajectory in trajectories)
    over_sequential = rate / sequential_rate * token_share * len(work) / len(part)
    seconds = len(work) / rate
    tokens = sum(trajectory.tokens for trajectory in trajectories) / seconds
    sampled = sum(sum(trajectory.loss_mask or []) for trajectory in trajectories) / seconds
    print(f"ours: {tokens:.0f} tokens/s, {sampled:.0f} of them sampled")
    print(f"{over_sequential:.1f} times sequential (by tokens), {rate / lock_step_rate:.1f} times lock-step")
    print(f"same answers as sequential: {equal} of {len(part)}")
    torch.set_num_threads(1)
    times = profile(model, work, settings)
    python = times["total"] - times["model"] - times["environments"]
    print("one process: " + ", ".join(f"{name} {value:.1f} s" for name, value in times.items()) + f", Python {python:.1f} s")
    bare = times["bare passes"] / times["total"]
    print(f"the forward passes alone take {100 * bare:.0f} % of the time")
    record(
        args.json,
        f"rollout, {args.millions:g} million random weights" if args.millions else "rollout",
        {"sequential": over_sequential, "lock-step": rate / lock_step_rate, "bare passes": bare},
        {"episodes per second": round(rate, 2), "tokens per second": round(tokens), "sampled tokens per second": round(sampled)},
    )


if __name__ == "__main__":
    main()

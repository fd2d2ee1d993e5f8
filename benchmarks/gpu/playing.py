"""Generating answers for many conversations at once, against the bare `generate` of the library below, on the same prompts.

- transformers: the product's engine, against Hugging Face's `generate` on one conversation at a time;
- vLLM, where it is installed: the product's engine, against vLLM's own loop over the same requests on the same vLLM engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentevol.data.trajectory import Message
from agentevol.models import load_model
from agentevol.rollout.engine import Engine, GenerationRequest
from agentevol.rollout.engines.factory import create_engine
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.training.memory import GIB, ModelSize, kv_cache_bytes_per_token
from benchmarks.gpu.device import free_memory, peak_bytes, pick_device, seconds_of
from benchmarks.gpu.shapes import SHAPES, TINY, save_random_model

SIZE = "0.6"
BASE = Path(__file__).parents[2] / "models" / "base"
SAMPLING = Sampling(temperature=1.0)
Prompts = Sequence[Sequence[int]]


class Work:
    """Prompts of random tokens, and the tokens that each answer has at most; every conversation has a second turn."""

    def __init__(self, dry_run: bool) -> None:
        self.conversations, self.new_tokens, self.alone = (4, 4, 1) if dry_run else (64, 128, 2)
        rng = np.random.default_rng(0)
        lengths = rng.integers(8, 16, self.conversations) if dry_run else rng.integers(300, 900, self.conversations)
        self.prompts = [rng.integers(10, 250, length).tolist() for length in lengths]
        self.observation = rng.integers(10, 250, 6 if dry_run else 60).tolist()
        self.context_length = 64 if dry_run else 1536


def measure_transformers(*, dry_run: bool) -> dict[str, Any]:
    """New tokens per second of the product's engine and of `generate`, one conversation at a time, and the engine's peak memory."""
    device, work = pick_device(), Work(dry_run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_random_model(TINY if dry_run else SHAPES[SIZE], Path(temporary), BASE, device)
        free_memory(device)
        rate, peak, estimate = _measure_engine(folder, work, device)
        free_memory(device)
        model = load_model(folder, "bfloat16").to(device)
        _hugging_face(model, work.prompts[:1], work, device)  # warm-up
        alone = _rate(lambda: _hugging_face(model, work.prompts[: work.alone], work, device), device)
    return {
        "conversations": work.conversations,
        "new tokens/s": rate,
        "generate, one at a time, new tokens/s": alone,
        "times generate": rate / alone,
        "peak memory, GiB": peak / GIB,
        "estimated memory, GiB": estimate / GIB,
        "measured against estimate": peak / estimate,
    }


def _measure_engine(folder: Path, work: Work, device: torch.device) -> tuple[float, int, int]:
    """New tokens per second, the peak memory, and its estimate from the weights and the tokens in the cache."""
    engine = create_engine(folder, None, num_slots=work.conversations, context_length=work.context_length)
    try:
        generate(engine, work.prompts[:2], work.new_tokens)  # warm-up
        rate, peak = _rate(lambda: play(engine, work), device), peak_bytes(device)
        model: Any = engine.model  # type: ignore[attr-defined]
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        cached = sum(map(len, work.prompts)) + work.conversations * (2 * work.new_tokens + len(work.observation))
        return rate, peak, weights + cached * kv_cache_bytes_per_token(ModelSize.of(model))
    finally:
        engine.close()


def measure_vllm(*, dry_run: bool) -> dict[str, Any]:
    """New tokens per second of the product's engine and of vLLM's own loop, on one vLLM engine."""
    device, work = pick_device(), Work(dry_run)
    options: dict[str, Any] = {} if device.type == "cuda" else {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": 2**28}
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_random_model(TINY if dry_run else SHAPES[SIZE], Path(temporary), BASE, device)
        settings = EngineParams(kind="vllm", options={"gpu_memory_utilization": 0.7, **options})
        engine: Any = create_engine(folder, settings, num_slots=work.conversations, context_length=work.context_length)
        try:
            generate(engine, work.prompts[:2], work.new_tokens)
            engine._engine.reset_prefix_cache()  # as before the bare loop
            rate = _rate(lambda: play(engine, work), device)
            bare = _rate(lambda: _bare_vllm(engine, work), device)
        finally:
            engine.close()
    return {"conversations": work.conversations, "new tokens/s": rate, "bare, new tokens/s": bare, "against bare": rate / bare}


def play(engine: Engine, work: Work) -> int:
    """Two turns of every conversation; returns the number of new tokens."""
    first = generate(engine, work.prompts, work.new_tokens, release=False)
    second = [[*prompt, *answer, *work.observation] for prompt, answer in zip(work.prompts, first, strict=True)]
    return sum(map(len, first)) + sum(map(len, generate(engine, second, work.new_tokens)))


def generate(engine: Engine, prompts: Prompts, new_tokens: int, *, release: bool = True) -> list[list[int]]:
    """The answers to token ids, one slot for each."""
    for slot, prompt in enumerate(prompts):
        rng = np.random.default_rng(slot)
        engine.submit(GenerationRequest(slot, [Message("user", "")], prompt, rng, SAMPLING, new_tokens))
    answers: dict[int, list[int]] = {}
    while len(answers) < len(prompts):
        for result in engine.poll():
            if result.error or result.truncation_reason:
                raise RuntimeError(result.error or result.truncation_reason)
            answers[result.slot] = result.token_ids
    if release:
        for slot in range(len(prompts)):
            engine.release(slot)
    return [answers[slot] for slot in range(len(prompts))]


def _rate(play_all: Callable[[], int], device: torch.device) -> float:
    count = 0

    def run() -> None:
        nonlocal count
        count = play_all()

    seconds = seconds_of(run, device)
    return count / seconds


def _hugging_face(model: Any, prompts: Prompts, work: Work, device: torch.device) -> int:
    """Both turns of the conversations, one after another, as a plain program has it: the history is read again in each turn."""
    count = 0
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(2):
            inputs = torch.tensor([ids], device=device)
            out = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=work.new_tokens,
                min_new_tokens=work.new_tokens,
                do_sample=True,
                pad_token_id=0,
            )
            ids = [*out[0].tolist(), *work.observation]
            count += work.new_tokens
    return count


def _bare_vllm(engine: Any, work: Work) -> int:
    """The same two turns as `vllm.LLM.generate` runs them: all requests are added, then vLLM steps until none is left."""
    vllm, bare = engine._vllm, engine._engine
    bare.reset_prefix_cache()
    params = vllm.SamplingParams(
        temperature=SAMPLING.temperature,
        max_tokens=work.new_tokens,
        ignore_eos=True,
        detokenize=False,
        output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
    )
    count, prompts = 0, [list(prompt) for prompt in work.prompts]
    for turn in range(2):
        for number, prompt in enumerate(prompts):
            (rendered,) = bare.renderer.render_cmpl([vllm.inputs.TokensPrompt(prompt_token_ids=prompt)])
            bare.add_request(f"bare-{turn}-{number}", rendered, params)
        while bare.has_unfinished_requests():
            for output in bare.step():
                if output.finished:
                    answer = [int(token) for token in output.outputs[0].token_ids]
                    count += len(answer)
                    prompts[int(output.request_id.rsplit("-", 1)[1])] += [*answer, *work.observation]
    return count

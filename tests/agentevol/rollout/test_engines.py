"""The contract of every inference engine; the tests of vLLM are skipped if vLLM is not installed."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.react import first_message
from agentevol.data.trajectory import Message, Trajectory
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.rollout.engine import Engine, GenerationRequest, GenerationResult, Usage
from agentevol.rollout.engines.factory import create_engine
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from tests import ROOT
from tests.agentevol.counting import Counting, rollout_params
from tests.agentevol.endpoint import serve_endpoint

pytestmark = pytest.mark.usefixtures("counting")
INSTRUCTIONS = Counting.instructions("explore")
BASE = ROOT / "models" / "base"
ON_A_CPU = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 2**28}
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
KINDS = ["transformers", "openai", pytest.param("vllm", marks=[needs_vllm, pytest.mark.slow])]


@dataclass
class Policy:
    """A model folder (None if the endpoint has its own model) and the settings of its engine."""

    folder: Path | None
    engine: EngineParams | None

    def play(self, count: int = 9, samples: int = 1, sampling: Sampling | None = None, **changes: Any) -> list[Trajectory]:
        settings = rollout_params(**{"concurrency": 4, "max_new_tokens": 16, "context_length": 400, "max_retries": 0} | changes)
        return roll_out(
            self.folder,
            INSTRUCTIONS[:count],
            samples=samples,
            sampling=sampling or Sampling(),
            settings=settings,
            engine=self.engine,
        )

    def create_engine(self) -> Engine:
        return create_engine(self.folder, self.engine, num_slots=4, context_length=400, usage=Usage())

    def digest(self) -> str:
        engine = self.create_engine()
        engine.close()
        return engine.digest


@pytest.fixture(params=KINDS)
def policy(request: pytest.FixtureRequest, small_models: dict[str, Path]) -> Iterator[Policy]:
    if request.param == "openai":
        with serve_endpoint() as endpoint:
            yield Policy(None, EngineParams(kind="openai", url=endpoint.url, model="counter"))
    elif request.param == "vllm":
        yield Policy(BASE, EngineParams(kind="vllm", options=ON_A_CPU))  # its kernels do not support the small models' head size
    else:
        yield Policy(small_models["llama"], None)


def generation_request(engine: Engine, slot: int, text: str) -> GenerationRequest:
    token_ids = engine.chat.tokenize_prompt(text) if engine.chat else []
    return GenerationRequest(slot, [Message("user", text)], token_ids, np.random.default_rng(slot), Sampling(), max_new_tokens=8)


def generate(engine: Engine, requests: Sequence[GenerationRequest]) -> dict[int, GenerationResult]:
    """The results by slot. Fails if a slot gets two."""
    for request in requests:
        engine.submit(request)
    results: dict[int, GenerationResult] = {}
    while len(results) < len(requests):
        for result in engine.poll():
            assert result.slot not in results
            results[result.slot] = result
    return results


def test_every_request_gets_one_result_and_poll_returns_at_once_without_requests(policy: Policy) -> None:
    engine = policy.create_engine()
    try:
        assert engine.poll() == []
        results = generate(engine, [generation_request(engine, slot, f"Count from {slot} to 9!") for slot in (0, 2, 3)])
        assert sorted(results) == [0, 2, 3]
        assert all(result.text and not result.error and not result.truncation_reason for result in results.values())
        assert engine.poll() == []
    finally:
        engine.close()


def test_a_poll_with_a_time_limit_loses_no_result(policy: Policy) -> None:
    engine = policy.create_engine()
    try:
        for slot in (0, 3):
            engine.submit(generation_request(engine, slot, f"Count from {slot} to 9!"))
        slots: list[int] = []
        while len(slots) < 2:
            slots += [result.slot for result in engine.poll(0.001)]
        assert sorted(slots) == [0, 3]
        assert engine.poll(0.001) == []
    finally:
        engine.close()


def test_a_released_slot_has_no_history(policy: Policy) -> None:
    engine = policy.create_engine()
    try:
        first = generate(engine, [generation_request(engine, 1, "Count from 3 to 9!")])[1]
        engine.release(1)
        engine.submit(generation_request(engine, 1, "Count from 7 to 9! Count from 7 to 9!"))
        engine.release(1)  # while the request is open
        assert engine.poll() == []
        second = generate(engine, [generation_request(engine, 1, "Count from 3 to 9!")])[1]
        assert (second.text, second.token_ids) == (first.text, first.token_ids)
    finally:
        engine.close()


def test_episodes_come_in_the_order_of_the_work_and_greedy_ones_are_reproducible(policy: Policy) -> None:
    trajectories = policy.play(samples=2)
    work = [(instruction.item_id, sample) for instruction in INSTRUCTIONS for sample in (0, 1)]
    assert [(trajectory.item_id, trajectory.sample) for trajectory in trajectories] == work
    assert {trajectory.status for trajectory in trajectories} <= {"finished", "truncated"}
    assert all(trajectory.rounds for trajectory in trajectories)
    assert [trajectory.messages for trajectory in policy.play(samples=2)] == [trajectory.messages for trajectory in trajectories]
    assert {trajectory.policy_hash for trajectory in trajectories} == {policy.digest()}


def test_a_sampled_episode_does_not_depend_on_the_others(policy: Policy) -> None:
    sampling = Sampling(temperature=1.0, seed=3)
    many, alone = policy.play(sampling=sampling), policy.play(1, sampling=sampling)
    assert alone[0].messages == many[0].messages


def test_recorded_token_ids_decode_to_the_messages(policy: Policy) -> None:
    for trajectory in policy.play(4):
        if policy.folder is None:
            assert (trajectory.token_ids, trajectory.loss_mask) == (None, None)
            continue
        chat = ChatTokenizer(load_tokenizer(policy.folder))
        token_ids, loss_mask = trajectory.token_ids, trajectory.loss_mask
        assert token_ids is not None
        assert loss_mask is not None
        assert len(token_ids) == len(loss_mask) == trajectory.tokens
        prompt = chat.tokenize_prompt(first_message(Counting.prompt, Counting.instruction(trajectory.item_id).text))
        assert token_ids[: len(prompt)] == prompt
        first = loss_mask.index(True)
        end = next((index for index in range(first, len(loss_mask)) if not loss_mask[index]), len(loss_mask))
        assert chat.decode(token_ids[first:end]) == trajectory.messages[1].content


def test_recorded_episodes_can_be_trained_on(policy: Policy, small_models: dict[str, Path]) -> None:
    """Also without token ids: the messages are then tokenized like an expert's, and only the policy's answers have loss."""
    folder = policy.folder or small_models["qwen"]
    chat = ChatTokenizer(load_tokenizer(folder))
    for trajectory in policy.play(3):
        example = chat.tokenize_trajectory(trajectory)
        trained = [token for token, has_loss in zip(example.token_ids, example.loss_mask, strict=True) if has_loss]
        assert len(example.token_ids) == len(example.loss_mask)
        assert trained
        if trajectory.token_ids is None:
            answers = [message.content for message in trajectory.messages if message.loss]
            assert trained == [token for answer in answers for token in chat.tokenize_answer(answer)]


def test_an_environment_error_ends_its_episode_alone(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Counting.answer

    def broken_answer(self: Counting, text: str) -> Any:
        if self.item_id == INSTRUCTIONS[2].item_id:
            raise ConnectionError("the server went away")
        return answer(self, text)

    monkeypatch.setattr(Counting, "answer", broken_answer)
    trajectories = policy.play()
    assert [trajectory.item_id for trajectory in trajectories if trajectory.status == "error"] == [INSTRUCTIONS[2].item_id]


@needs_vllm
@pytest.mark.slow
def test_vllm_generates_greedily_what_transformers_does_and_loads_other_weights(tmp_path: Path) -> None:
    import torch

    policy, reference = Policy(BASE, EngineParams(kind="vllm", options=ON_A_CPU)), Policy(BASE, None)
    expected = [trajectory.token_ids for trajectory in reference.play()]
    assert [trajectory.token_ids for trajectory in policy.play()] == expected
    changed_folder = shutil.copytree(BASE, tmp_path / "changed")
    model = load_model(BASE)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.02 if weights.ndim > 1 else 1.0).add_(
                0.002 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
            )
    model.save_pretrained(changed_folder)
    import agentevol.rollout.engines.vllm as vllm_module

    before = vllm_module._current
    changed = Policy(changed_folder, policy.engine).play()
    assert vllm_module._current is before
    changed_reference = Policy(changed_folder, None).play()
    same = [one.token_ids == other.token_ids for one, other in zip(changed, changed_reference, strict=True)]
    assert sum(same) >= 6  # of 9: with noise in the weights, the two best tokens may differ by a rounding error
    assert [trajectory.token_ids for trajectory in changed] != expected
    assert {trajectory.policy_hash for trajectory in changed} == {model_digest(changed_folder)}

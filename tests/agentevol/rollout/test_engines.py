"""The contract that every engine keeps, whatever speaks behind it; vLLM's part is skipped where vLLM is not installed."""

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
from agentevol.rollout.engine import Engine, GenerationRequest, Usage
from agentevol.rollout.engines.factory import create_engine
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from tests import ROOT
from tests.agentevol.counting import Counting
from tests.agentevol.endpoint import serving

pytestmark = pytest.mark.usefixtures("counting")
INSTRUCTIONS = Counting.instructions("explore")
BASE = ROOT / "models" / "base"
ON_A_CPU = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 2**28}
without_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
KINDS = ["transformers", "openai", pytest.param("vllm", marks=[without_vllm, pytest.mark.slow])]


@dataclass
class Way:
    """A way to speak: what is to be given to `roll_out` and `create_engine`."""

    folder: Path | None
    engine: EngineParams | None

    def play(self, count: int = 9, samples: int = 1, sampling: Sampling | None = None, **settings: Any) -> list[Trajectory]:
        how = RolloutParams(**{"slots": 4, "workers": 1, "max_new_tokens": 16, "context": 400, "retries": 0, "repeats": None} | settings)
        work, drawn = INSTRUCTIONS[:count], sampling or Sampling()
        return roll_out(self.folder, work, samples=samples, sampling=drawn, settings=how, engine=self.engine)

    def open(self) -> Engine:
        return create_engine(self.folder, self.engine, slots=4, context=400, usage=Usage())


@pytest.fixture(params=KINDS)
def way(request: pytest.FixtureRequest, small_models: dict[str, Path]) -> Iterator[Way]:
    if request.param == "openai":
        with serving() as endpoint:
            yield Way(None, EngineParams(kind="openai", url=endpoint.url, model="counter"))
    elif request.param == "vllm":
        yield Way(BASE, EngineParams(kind="vllm", options=ON_A_CPU))  # its kernels do not know the small models' width of heads
    else:
        yield Way(small_models["llama"], None)


def turn(engine: Engine, slot: int, text: str) -> GenerationRequest:
    said = [Message("user", text)]
    ids = engine.chat.tokenize_prompt(text) if engine.chat else []
    return GenerationRequest(slot, said, ids, np.random.default_rng(slot), Sampling(), 8)


def answers(engine: Engine, turns: Sequence[GenerationRequest]) -> dict[int, Any]:
    for one in turns:
        engine.submit(one)
    found: dict[int, Any] = {}
    while len(found) < len(turns):
        for answer in engine.poll():
            assert answer.slot not in found
            found[answer.slot] = answer
    return found


def test_every_turn_is_answered_once_and_nobody_waits_for_nothing(way: Way) -> None:
    engine = way.open()
    try:
        assert engine.poll() == []
        found = answers(engine, [turn(engine, slot, f"Count from {slot} to 9!") for slot in (0, 2, 3)])
        assert sorted(found) == [0, 2, 3]
        assert all(answer.text and not answer.fault and not answer.cut for answer in found.values())
        assert engine.poll() == []
    finally:
        engine.close()


def test_a_slot_that_was_cleared_knows_nothing_of_before(way: Way) -> None:
    engine = way.open()
    try:
        first = answers(engine, [turn(engine, 1, "Count from 3 to 9!")])[1]
        engine.release(1)
        engine.submit(turn(engine, 1, "Count from 7 to 9! Count from 7 to 9!"))
        engine.release(1)  # in the middle of its turn
        assert engine.poll() == []
        again = answers(engine, [turn(engine, 1, "Count from 3 to 9!")])[1]
        assert (again.text, again.ids) == (first.text, first.ids)
    finally:
        engine.close()


def test_episodes_come_in_the_order_of_the_work_and_greedy_ones_come_again(way: Way) -> None:
    played = way.play(samples=2)
    assert [(one.item_id, one.sample) for one in played] == [(item.item_id, sample) for item in INSTRUCTIONS for sample in (0, 1)]
    assert {one.status for one in played} <= {"finished", "truncated"}
    assert all(one.rounds for one in played)
    assert [one.messages for one in way.play(samples=2)] == [one.messages for one in played]
    assert {one.policy_hash for one in played} == {way_digest(way)}


def way_digest(way: Way) -> str:
    engine = way.open()
    engine.close()
    return engine.digest


def test_sampled_episodes_depend_on_themselves_alone(way: Way) -> None:
    drawn = Sampling(temperature=1.0, seed=3)
    many, alone = way.play(sampling=drawn), way.play(1, sampling=drawn, slots=4)
    assert alone[0].messages == many[0].messages


def test_token_ids_are_kept_where_they_are_known_and_say_what_was_said(way: Way) -> None:
    for one in way.play(4):
        if way.folder is None:
            assert (one.token_ids, one.loss_mask) == (None, None)
            continue
        chat = ChatTokenizer(load_tokenizer(way.folder))
        assert one.token_ids is not None
        assert one.loss_mask is not None
        assert len(one.token_ids) == len(one.loss_mask) == one.tokens
        opening = chat.tokenize_prompt(first_message(Counting.prompt, next(i.text for i in INSTRUCTIONS if i.item_id == one.item_id)))
        assert one.token_ids[: len(opening)] == opening
        first = one.loss_mask.index(True)
        end = next((at for at in range(first, len(one.loss_mask)) if not one.loss_mask[at]), len(one.loss_mask))
        assert chat.decode(one.token_ids[first:end]) == one.messages[1].content


def test_what_was_played_can_be_learnt_from(way: Way, small_models: dict[str, Path]) -> None:
    """Also where no token ids are known: the messages are encoded as an expert's are, and the policy's words alone have loss."""
    folder = way.folder or small_models["qwen"]
    chat = ChatTokenizer(load_tokenizer(folder))
    for one in way.play(3):
        encoded = chat.tokenize_trajectory(one)
        learnt = [token for token, loss in zip(encoded.token_ids, encoded.loss_mask, strict=True) if loss]
        assert len(encoded.token_ids) == len(encoded.loss_mask)
        assert learnt
        if one.token_ids is None:
            assert learnt == [token for message in one.messages if message.loss for token in chat.tokenize_answer(message.content)]


def test_a_fault_of_the_world_ends_its_episode_alone(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Counting.answer

    def broken(self: Counting, text: str) -> Any:
        if self.item_id == INSTRUCTIONS[2].item_id:
            raise ConnectionError("the world fell over")
        return plain(self, text)

    monkeypatch.setattr(Counting, "answer", broken)
    played = way.play()
    assert [one.item_id for one in played if one.status == "error"] == [INSTRUCTIONS[2].item_id]


@without_vllm
@pytest.mark.slow
def test_vllm_says_greedily_what_transformers_says_and_takes_other_weights(tmp_path: Path) -> None:
    import torch

    way, plain = Way(BASE, EngineParams(kind="vllm", options=ON_A_CPU)), Way(BASE, None)
    assert [one.token_ids for one in way.play()] == [one.token_ids for one in plain.play()]
    other = shutil.copytree(BASE, tmp_path / "other")
    model = load_model(BASE)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.02 if weights.ndim > 1 else 1.0).add_(
                0.002 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
            )
    model.save_pretrained(other)
    import agentevol.rollout.engines.vllm as engines

    before = engines._kept
    changed = Way(other, way.engine).play()
    assert engines._kept is before
    same = [one.token_ids == there.token_ids for one, there in zip(changed, Way(other, None).play(), strict=True)]
    assert sum(same) >= 6  # of 9: weights with noise in them have tokens that are a rounding apart
    assert [one.token_ids for one in changed] != [one.token_ids for one in plain.play()]
    assert {one.policy_hash for one in changed} == {model_digest(other)}

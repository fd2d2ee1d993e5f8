"""Rolling out: the cached, batched engine against plain forward passes; seeds; faults; limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import envs
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Trajectory
from agentevol.models import ModelNotFound, load_model, load_tokenizer
from agentevol.rollout.engines.transformers import NOT_FINITE, TransformersEngine, choose
from agentevol.rollout.ragged_attention import BatchLayout, ragged_attention, together
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from envs import environment_class
from tests.agentevol.counting import Counting
from tests.envs.served import start, stop
from tests.small_models import FAMILIES


@dataclass
class Settings:
    slots: int = 5
    max_new_tokens: int = 12
    context: int = 512
    retries: int = 1
    repeats: int | None = None
    workers: int = 1
    servers: dict[str, str] = field(default_factory=dict)


INSTRUCTIONS = Counting.instructions("explore")


def plain_greedy(folder: Path, trajectory: Trajectory) -> list[int]:
    """The same episode by the slowest way: the whole history through the model for every token, one episode at a time."""
    model, chat = load_model(folder), ChatTokenizer(load_tokenizer(folder))
    game = Counting()
    observation, _ = game.reset(options={"item_id": trajectory.item_id})
    ids = chat.tokenize_prompt(f"{game.prompt}\n\n{observation}")
    while True:
        answer: list[int] = []
        while len(answer) < Settings.max_new_tokens and (not answer or answer[-1] not in chat.stop_token_ids):
            with torch.inference_mode():
                answer.append(int(model(torch.tensor([ids + answer])).logits[0, -1].argmax()))
        ids += answer
        observation, _, terminated, truncated, _ = game.answer(chat.decode(answer))
        if terminated or truncated:
            return ids
        ids += [] if answer[-1] in chat.stop_token_ids else [chat.end_token_id]
        ids += chat.tokenize_observation(observation)


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_and_cached_equals_plain_token_for_token(family: str, small_models: dict[str, Path], counting: str) -> None:
    played = roll_out(small_models[family], INSTRUCTIONS, settings=Settings())
    assert [one.item_id for one in played] == [one.item_id for one in INSTRUCTIONS]
    for trajectory in played[:4]:
        assert trajectory.token_ids == plain_greedy(small_models[family], trajectory)
        assert trajectory.rounds == 4
        assert len(trajectory.loss_mask or []) == trajectory.tokens


def test_sampled_tokens_are_the_trained_tokens(small_models: dict[str, Path], counting: str) -> None:
    """The ids with loss decode to the answers, in order: nothing was tokenised anew in between."""
    chat = ChatTokenizer(load_tokenizer(small_models["llama"]))
    for trajectory in roll_out(small_models["llama"], INSTRUCTIONS[:4], sampling=Sampling(temperature=1.0), settings=Settings()):
        encoded = chat.tokenize_trajectory(trajectory)
        assert encoded.token_ids == trajectory.token_ids
        answers: list[list[int]] = []
        for index, (token, learnt) in enumerate(zip(encoded.token_ids, encoded.loss_mask, strict=True)):
            if learnt and not encoded.loss_mask[index - 1]:
                answers.append([])
            if learnt:
                answers[-1].append(token)
        assert [chat.decode(ids) for ids in answers] == [message.content for message in trajectory.messages if message.role == "assistant"]


def test_a_sample_depends_on_its_episode_not_on_its_company(small_models: dict[str, Path], counting: str) -> None:
    model, drawn, single = small_models["qwen"], Sampling(temperature=1.0, seed=3), Settings(slots=1)
    many = roll_out(model, INSTRUCTIONS, samples=2, sampling=drawn, settings=Settings())
    alone = roll_out(model, INSTRUCTIONS[4:5], samples=[1], sampling=drawn, settings=single)
    assert alone[0].token_ids == many[9].token_ids
    other = roll_out(model, INSTRUCTIONS[4:5], samples=[1], sampling=drawn.model_copy(update={"seed": 4}), settings=single)
    assert other[0].token_ids != alone[0].token_ids
    assert many[8].token_ids != many[9].token_ids


def test_a_fault_of_the_world_is_an_error_after_a_retry_never_a_failure(
    small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    plain = Counting.act

    def broken(self: Counting, action: str) -> tuple[str, float, bool]:
        calls.append(str(self.item_id))
        if self.item_id == "counting_5":
            raise ConnectionError("the world fell over")
        if self.item_id == "counting_6" and calls.count("counting_6") == 1:
            raise ConnectionError("only once")
        return plain(self, action)

    monkeypatch.setattr(Counting, "act", broken)
    monkeypatch.setattr(Counting, "parse_action", classmethod(lambda cls, text: text))
    played = {one.item_id: one for one in roll_out(small_models["llama"], INSTRUCTIONS, settings=Settings())}
    assert played["counting_5"].status == "error"
    assert played["counting_5"].error == "environment: ConnectionError: the world fell over"
    assert calls.count("counting_5") == 2
    assert played["counting_6"].status != "error"
    assert not played["counting_5"].success


def test_a_full_context_cuts_the_episode_and_says_so(small_models: dict[str, Path], counting: str) -> None:
    cut = roll_out(small_models["llama"], INSTRUCTIONS[:2], settings=Settings(context=120))
    assert {one.status for one in cut} == {"truncated"}
    assert cut[0].error == "the context of 120 tokens is full"
    assert cut[0].truncated_by == "context"
    assert cut[0].tokens <= 120


def test_an_opening_that_does_not_fit_is_cut_before_a_word_is_said(small_models: dict[str, Path], counting: str) -> None:
    cut = roll_out(small_models["llama"], INSTRUCTIONS[:1], settings=Settings(context=20))[0]
    assert (cut.status, cut.rounds, cut.tokens, cut.success, cut.truncated_by) == ("truncated", 0, 0, False, "context")
    assert "tokens does not fit the context of 20" in str(cut.error)


def test_a_model_that_breaks_on_one_token_ends_only_the_episodes_that_read_it(
    small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    folder, chat = small_models["llama"], ChatTokenizer(load_tokenizer(small_models["llama"]))
    nine, damaged = chat.tokenize_answer("9")[0], load_model(folder)
    with torch.no_grad():
        damaged.get_input_embeddings().weight[nine] = float("nan")
    damaged.save_pretrained(tmp_path)
    chat.tokenizer.save_pretrained(tmp_path)
    settings = Settings(slots=3, retries=0)  # few slots, so that those of the broken episodes are used again
    sound = roll_out(folder, INSTRUCTIONS, settings=settings)
    played = roll_out(tmp_path, INSTRUCTIONS, settings=settings)
    reads_it = [nine in (one.token_ids or []) for one in sound]
    assert any(reads_it[:-1])
    assert not all(reads_it)
    for before, after, broken in zip(sound, played, reads_it, strict=True):
        assert after.status == "error" if broken else after.token_ids == before.token_ids
    assert {one.error for one in played if one.status == "error"} == {f"engine: {NOT_FINITE}"}


def test_a_slot_after_infinite_numbers_is_as_good_as_new(small_models: dict[str, Path]) -> None:
    engine = TransformersEngine(small_models["llama"], slots=2, context=64)
    first = engine.append([0], [[5, 6, 7]])
    with torch.inference_mode():
        for layer in engine._layers:
            assert layer.keys is not None
            layer.keys[0], layer.keys[0, :, 40] = float("inf"), float("nan")
    engine.release(0)
    engine.append([1], [[1] * 50])  # the pass below looks as far as the longest slot
    again = engine.append([0, 1], [[5, 6, 7], [9]])
    assert torch.allclose(first[0], again[0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_that_begins_like_a_live_one_reads_only_what_differs(family: str, small_models: dict[str, Path]) -> None:
    engine, alone = (TransformersEngine(small_models[family], slots=3, context=64) for _ in range(2))
    begun = [7, 8, 9, 10, 11]
    engine.append([2], [[*begun, 12]])
    read: list[list[int]] = []
    plain = engine._forward
    engine._forward = lambda plan, tokens: read.append(tokens) or plain(plan, tokens)  # type: ignore[method-assign, func-returns-value]
    shared = engine.append([0, 1], [[*begun, 13, 14], begun])
    assert read == [[13, 14, 11]]
    for row, piece in enumerate(([*begun, 13, 14], begun)):
        alone.release(0)
        assert torch.allclose(alone.append([0], [piece])[0], shared[row], atol=1e-5)


def test_a_gpus_way_of_attending_gives_the_same() -> None:
    torch.manual_seed(0)
    key, value, line = torch.randn(4, 2, 30, 8), torch.randn(4, 2, 30, 8), torch.randn(3, 2, 2, 8)
    key[:, :, 25:], value[:, :, 25:] = float("nan"), float("nan")  # what was never written
    plan = BatchLayout(rows=[3, 0, 1], starts=[24, 5, 17], sizes=[1, 1, 1])
    query = line.reshape(3, 4, 8).transpose(0, 1)[None]
    for window in (None, 6):
        by_row, _ = ragged_attention(None, query, key, value, plan.as_mask(), sliding_window=window)
        assert torch.allclose(by_row[0].reshape(3, 2, 2, 8), together(line, key, value, plan, None, window), atol=1e-6)


def test_a_sliding_window_hides_what_is_far() -> None:
    torch.manual_seed(0)
    key, value = torch.randn(1, 2, 30, 8), torch.randn(1, 2, 30, 8)
    query = torch.randn(1, 4, 5, 8)
    pieces = [BatchLayout([0], [10 + step], [1]) for step in range(5)]
    singly = [
        ragged_attention(None, query[:, :, step : step + 1], key, value, plan.as_mask(), sliding_window=6)[0]
        for step, plan in enumerate(pieces)
    ]
    at_once, _ = ragged_attention(None, query, key, value, BatchLayout([0], [10], [5]).as_mask(), sliding_window=6)
    assert torch.allclose(torch.cat(singly, dim=1), at_once, atol=1e-6)
    wide, _ = ragged_attention(None, query, key, value, BatchLayout([0], [10], [5]).as_mask())
    assert not torch.allclose(wide, at_once, atol=1e-3)


def test_an_attention_that_would_be_played_wrongly_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="softcap"):
        ragged_attention(None, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.zeros(1), softcap=30.0)


def test_a_forward_pass_without_memory_ends_its_episodes_as_errors(
    small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    plain = TransformersEngine._forward

    def short(self: TransformersEngine, plan: BatchLayout, tokens: list[int]) -> torch.Tensor:
        passes.append(len(plan.rows))
        if len(passes) == 3:
            raise torch.OutOfMemoryError("tried to allocate\n20 GiB")
        return plain(self, plan, tokens)

    monkeypatch.setattr(TransformersEngine, "_forward", short)
    played = roll_out(small_models["llama"], INSTRUCTIONS, settings=Settings(retries=0))
    faults = [one for one in played if one.status == "error"]
    assert len(faults) == passes[2]
    assert 0 < len(faults) < len(played)
    assert {one.error for one in faults} == {
        "engine: OutOfMemoryError: tried to allocate 20 GiB; where memory is short, lower rollout.concurrency or rollout.context_length"
    }


def test_a_world_that_cannot_be_made_is_a_fault(small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Counting, render_mode: str | None = None) -> None:
        raise FileNotFoundError("its data is missing")

    monkeypatch.setattr(Counting, "__init__", broken)
    played = roll_out(small_models["llama"], INSTRUCTIONS[:2], settings=Settings())
    assert [(one.status, one.error, one.rounds) for one in played] == [
        ("error", "environment: FileNotFoundError: its data is missing", 0)
    ] * 2


def test_progress_counts_every_episode(small_models: dict[str, Path], counting: str) -> None:
    seen: list[tuple[int, int]] = []
    roll_out(small_models["llama"], INSTRUCTIONS[:3], settings=Settings(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_slots_are_forgotten_when_cleared(small_models: dict[str, Path]) -> None:
    engine = TransformersEngine(small_models["llama"], slots=2, context=64)
    first = engine.append([0, 1], [[5, 6, 7], [9]])
    engine.release(1)
    again = engine.append([1], [[5, 6, 7]])
    assert torch.allclose(first[0], again[0], atol=1e-5)
    with pytest.raises(ValueError, match="does not fit the context of 64"):
        engine.append([0], [[1] * 62])


def test_drawing_follows_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    uniforms = [(i + 0.5) / 1000 for i in range(1000)]
    drawn = choose(logits.expand(1000, 3), temperature=1.0, top_p=1.0, uniforms=uniforms)
    assert [drawn.count(token) for token in range(3)] == [500, 300, 200]
    assert set(choose(logits.expand(1000, 3), temperature=1.0, top_p=0.6, uniforms=uniforms)) == {0, 1}
    assert set(choose(logits.expand(1000, 3), temperature=0.0, top_p=1.0, uniforms=uniforms)) == {0}


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"holds no \*.safetensors file"):
        roll_out(tmp_path, INSTRUCTIONS[:1], settings=Settings())


def test_every_environment_can_be_rolled_out(small_models: dict[str, Path]) -> None:
    names = [name for name in envs.ENVIRONMENTS if environment_class(name).missing() is None]
    work = [environment_class(name).instructions("eval")[0] for name in names]
    played = roll_out(small_models["llama"], work, settings=Settings(context=2048, repeats=3))
    assert {one.env for one in played} == set(names)
    assert all(one.status == "truncated" for one in played), [one.error for one in played]
    assert sum(one.rounds > 0 for one in played) >= len(names) // 2


def test_an_environment_can_be_played_on_a_server(small_models: dict[str, Path]) -> None:
    work = environment_class("maze").instructions("eval")[:3]
    process, url = start("60", "10", "60")
    try:
        there = roll_out(small_models["llama"], work, settings=Settings(servers={"maze": url}))
    finally:
        stop(process)
    here = roll_out(small_models["llama"], work, settings=Settings())
    assert [one.token_ids for one in there] == [one.token_ids for one in here]
    gone = roll_out(small_models["llama"], work[:1], settings=Settings(servers={"maze": url}, retries=0))
    assert (gone[0].status, "ServerFailed" in str(gone[0].error)) == ("error", True)


def test_a_loop_is_cut_when_asked(small_models: dict[str, Path], counting: str) -> None:
    """A policy of random weights says the same nonsense every round: the third time ends it."""
    free = roll_out(small_models["llama"], INSTRUCTIONS[:3], settings=Settings())
    cut = roll_out(small_models["llama"], INSTRUCTIONS[:3], settings=Settings(repeats=2))
    for long, short in zip(free, cut, strict=True):
        said = [message.content for message in long.messages]
        loops = [n for n in range(1, 4) if said[2 * n - 1 : 2 * n + 1] == said[2 * n + 1 : 2 * n + 3]]
        assert short.rounds == (loops[0] + 1 if loops and loops[0] < 3 else long.rounds)
        assert (short.error == "the same answer to the same observation 2 times in a row") == (bool(loops) and loops[0] < 3)
    assert {one.truncated_by for one in cut if one.error} <= {"loop"}
    assert {one.truncated_by for one in free} == {None}

"""Rollouts: batched and cached episodes against plain forward passes; seeds; errors; limits; loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import envs
from agentevol.chat.load import load_chat_tokenizer
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.trajectory import Trajectory
from agentevol.models import ModelNotFound, load_model, load_tokenizer
from agentevol.rollout.engine import GenerationRequest, GenerationResult
from agentevol.rollout.engines.transformers import NOT_FINITE, TransformersEngine
from agentevol.rollout.ragged_attention import BatchLayout
from agentevol.rollout.rollout import GREEDY, Rollout, roll_out
from agentevol.rollout.sampling import Sampling
from envs import environment_class
from tests.agentevol.counting import Counting, rollout_params
from tests.envs.served import start, stop
from tests.servers.ports import free_port
from tests.small_models import FAMILIES

INSTRUCTIONS = Counting.instructions("explore")


def greedy_without_cache(folder: Path, trajectory: Trajectory) -> list[int]:
    """The token ids of the same episode, with the whole history through the model for every token, one episode at a time."""
    model, chat = load_model(folder), ChatTokenizer(load_tokenizer(folder))
    env, max_new_tokens = Counting(), rollout_params().max_new_tokens
    observation, _ = env.reset(options={"item_id": trajectory.item_id})
    token_ids = chat.tokenize_prompt(f"{env.prompt}\n\n{observation}")
    while True:
        answer: list[int] = []
        while len(answer) < max_new_tokens and (not answer or answer[-1] not in chat.stop_token_ids):
            with torch.inference_mode():
                answer.append(int(model(torch.tensor([token_ids + answer])).logits[0, -1].argmax()))
        token_ids += answer
        observation, _, terminated, truncated, _ = env.answer(chat.decode(answer))
        if terminated or truncated:
            return token_ids
        token_ids += [] if answer[-1] in chat.stop_token_ids else [chat.end_token_id]
        token_ids += chat.tokenize_observation(observation)


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_and_cached_equals_uncached_token_for_token(family: str, small_models: dict[str, Path], counting: str) -> None:
    trajectories = roll_out(small_models[family], INSTRUCTIONS, settings=rollout_params())
    assert [trajectory.item_id for trajectory in trajectories] == [instruction.item_id for instruction in INSTRUCTIONS]
    for trajectory in trajectories[:4]:
        assert trajectory.token_ids == greedy_without_cache(small_models[family], trajectory)
        assert trajectory.rounds == 4
        assert len(trajectory.loss_mask or []) == trajectory.tokens


def test_sampled_tokens_are_the_trained_tokens(small_models: dict[str, Path], counting: str) -> None:
    """The ids with loss decode to the answers, in order: nothing was tokenized again in between."""
    chat = load_chat_tokenizer(small_models["llama"])
    sampling = Sampling(temperature=1.0)
    for trajectory in roll_out(small_models["llama"], INSTRUCTIONS[:4], sampling=sampling, settings=rollout_params()):
        example = chat.tokenize_trajectory(trajectory)
        assert example.token_ids == trajectory.token_ids
        answers: list[list[int]] = []
        for index, (token, has_loss) in enumerate(zip(example.token_ids, example.loss_mask, strict=True)):
            if has_loss and not example.loss_mask[index - 1]:
                answers.append([])
            if has_loss:
                answers[-1].append(token)
        assert [chat.decode(ids) for ids in answers] == [message.content for message in trajectory.messages if message.role == "assistant"]


def test_a_trajectory_has_the_progress_of_its_environment(small_models: dict[str, Path], counting: str) -> None:
    instructions = [environment_class("maze").instructions("eval")[0], INSTRUCTIONS[0]]
    in_maze, in_counting = roll_out(small_models["llama"], instructions, settings=rollout_params())
    assert in_maze.progress == 0.0, "an untrained model does not move"
    assert in_counting.progress is None, "this environment measures none"


def test_a_sample_does_not_depend_on_the_other_episodes(small_models: dict[str, Path], counting: str) -> None:
    model, sampling, one_slot = small_models["qwen"], Sampling(temperature=1.0, seed=3), rollout_params(concurrency=1)
    many = roll_out(model, INSTRUCTIONS, samples=2, sampling=sampling, settings=rollout_params())
    alone = roll_out(model, INSTRUCTIONS[4:5], samples=[1], sampling=sampling, settings=one_slot)
    assert alone[0].token_ids == many[9].token_ids
    other_seed = roll_out(model, INSTRUCTIONS[4:5], samples=[1], sampling=sampling.model_copy(update={"seed": 4}), settings=one_slot)
    assert other_seed[0].token_ids != alone[0].token_ids
    assert many[8].token_ids != many[9].token_ids


def test_an_environment_error_is_retried_and_never_a_failure(
    small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    act = Counting.act

    def broken_act(self: Counting, action: str) -> tuple[str, float, bool]:
        calls.append(str(self.item_id))
        if self.item_id == "counting_5":
            raise ConnectionError("the server went away")
        if self.item_id == "counting_6" and calls.count("counting_6") == 1:
            raise ConnectionError("only once")
        return act(self, action)

    monkeypatch.setattr(Counting, "act", broken_act)
    monkeypatch.setattr(Counting, "parse_action", classmethod(lambda cls, text: text))
    trajectories = roll_out(small_models["llama"], INSTRUCTIONS, settings=rollout_params())
    by_item_id = {trajectory.item_id: trajectory for trajectory in trajectories}
    assert by_item_id["counting_5"].status == "error"
    assert by_item_id["counting_5"].error == "environment: ConnectionError: the server went away"
    assert calls.count("counting_5") == 2
    assert by_item_id["counting_6"].status != "error"
    assert not by_item_id["counting_5"].success


def test_a_full_context_truncates_the_episode_and_gives_the_reason(small_models: dict[str, Path], counting: str) -> None:
    trajectories = roll_out(small_models["llama"], INSTRUCTIONS[:2], settings=rollout_params(context_length=120))
    assert {trajectory.status for trajectory in trajectories} == {"truncated"}
    assert trajectories[0].error == "the context of 120 tokens is full"
    assert trajectories[0].truncated_by == "context"
    assert trajectories[0].tokens <= 120


def test_a_prompt_that_does_not_fit_truncates_before_the_first_answer(small_models: dict[str, Path], counting: str) -> None:
    (trajectory,) = roll_out(small_models["llama"], INSTRUCTIONS[:1], settings=rollout_params(context_length=20))
    assert (trajectory.status, trajectory.rounds, trajectory.tokens) == ("truncated", 0, 0)
    assert (trajectory.success, trajectory.truncated_by) == (False, "context")
    assert "tokens does not fit the context of 20" in str(trajectory.error)


def test_logits_that_are_not_finite_end_only_the_episodes_that_have_them(
    small_models: dict[str, Path], counting: str, tmp_path: Path
) -> None:
    folder, chat = small_models["llama"], ChatTokenizer(load_tokenizer(small_models["llama"]))
    nine, damaged = chat.tokenize_answer("9")[0], load_model(folder)
    with torch.no_grad():
        damaged.get_input_embeddings().weight[nine] = float("nan")
    damaged.save_pretrained(tmp_path)
    chat.tokenizer.save_pretrained(tmp_path)
    settings = rollout_params(concurrency=3, max_retries=0)  # few slots, so that those of broken episodes are used again
    expected = roll_out(folder, INSTRUCTIONS, settings=settings)
    trajectories = roll_out(tmp_path, INSTRUCTIONS, settings=settings)
    has_nine = [nine in (trajectory.token_ids or []) for trajectory in expected]
    assert any(has_nine[:-1])
    assert not all(has_nine)
    for sound, trajectory, broken in zip(expected, trajectories, has_nine, strict=True):
        assert trajectory.status == "error" if broken else trajectory.token_ids == sound.token_ids
    assert {trajectory.error for trajectory in trajectories if trajectory.status == "error"} == {f"engine: {NOT_FINITE}"}


def test_a_forward_pass_without_memory_ends_its_episodes_as_errors(
    small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_sizes: list[int] = []
    forward = TransformersEngine._forward

    def failing_forward(self: TransformersEngine, layout: BatchLayout, token_ids: list[int]) -> torch.Tensor:
        batch_sizes.append(len(layout.rows))
        if len(batch_sizes) == 3:
            raise torch.OutOfMemoryError("tried to allocate\n20 GiB")
        return forward(self, layout, token_ids)

    monkeypatch.setattr(TransformersEngine, "_forward", failing_forward)
    trajectories = roll_out(small_models["llama"], INSTRUCTIONS, settings=rollout_params(max_retries=0))
    errors = [trajectory.error for trajectory in trajectories if trajectory.status == "error"]
    assert len(errors) == batch_sizes[2]
    assert 0 < len(errors) < len(trajectories)
    assert set(errors) == {
        "engine: OutOfMemoryError: tried to allocate 20 GiB; where memory is short, lower rollout.concurrency or rollout.context_length"
    }


def test_an_environment_that_cannot_be_created_is_an_error(
    small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_init(self: Counting, render_mode: str | None = None) -> None:
        raise FileNotFoundError("its data is missing")

    monkeypatch.setattr(Counting, "__init__", broken_init)
    trajectories = roll_out(small_models["llama"], INSTRUCTIONS[:2], settings=rollout_params())
    assert [(trajectory.status, trajectory.error, trajectory.rounds) for trajectory in trajectories] == [
        ("error", "environment: FileNotFoundError: its data is missing", 0)
    ] * 2


def test_progress_counts_every_episode(small_models: dict[str, Path], counting: str) -> None:
    reports: list[tuple[int, int]] = []
    settings = rollout_params()
    roll_out(small_models["llama"], INSTRUCTIONS[:3], settings=settings, progress=lambda done, total: reports.append((done, total)))
    assert reports == [(1, 3), (2, 3), (3, 3)]


def test_a_missing_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"contains no \*.safetensors file"):
        roll_out(tmp_path, INSTRUCTIONS[:1], settings=rollout_params())


@pytest.mark.slow
def test_every_environment_can_be_rolled_out(small_models: dict[str, Path]) -> None:
    names = [name for name in envs.ENVIRONMENTS if environment_class(name).missing() is None]
    work = [environment_class(name).instructions("eval")[0] for name in names]
    trajectories = roll_out(small_models["llama"], work, settings=rollout_params(context_length=2048, max_repeats=3))
    assert {trajectory.env for trajectory in trajectories} == set(names)
    assert all(trajectory.status == "truncated" for trajectory in trajectories), [trajectory.error for trajectory in trajectories]
    assert sum(trajectory.rounds > 0 for trajectory in trajectories) >= len(names) // 2


@pytest.mark.slow
def test_an_environment_can_be_played_on_a_server(small_models: dict[str, Path]) -> None:
    work = environment_class("maze").instructions("eval")[:3]
    process, url = start("60", "10", "60")
    try:
        served = roll_out(small_models["llama"], work, settings=rollout_params(servers={"maze": url}))
        # One of two servers is dead: its episodes move to the other without using up their retries.
        two = rollout_params(servers={"maze": [f"http://127.0.0.1:{free_port()}", url]}, max_retries=0)
        moved = roll_out(small_models["llama"], work, settings=two)
    finally:
        stop(process)
    local = roll_out(small_models["llama"], work, settings=rollout_params())
    for trajectories in (served, moved):
        assert [trajectory.token_ids for trajectory in trajectories] == [trajectory.token_ids for trajectory in local]
    (stopped,) = roll_out(small_models["llama"], work[:1], settings=rollout_params(servers={"maze": url}, max_retries=0))
    assert (stopped.status, "ServerUnavailable" in str(stopped.error)) == ("error", True)


class ScriptedEngine:
    """An engine that gives a scripted answer in every round, from 0 on."""

    digest, num_slots, context_length, chat = "scripted", 2, 1000, None

    def __init__(self, answer: Callable[[int], str]) -> None:
        self.answer = answer
        self.requests: list[GenerationRequest] = []

    def submit(self, request: GenerationRequest) -> None:
        self.requests.append(request)

    def poll(self) -> list[GenerationResult]:
        results = [GenerationResult(request.slot, self.answer(len(request.messages) // 2)) for request in self.requests]
        self.requests.clear()
        return results

    def release(self, slot: int) -> None:
        self.requests = [request for request in self.requests if request.slot != slot]

    def close(self) -> None:
        self.requests.clear()


def play_scripted(answer: Callable[[int], str], max_repeats: int | None) -> Trajectory:
    """An episode in which no answer is right, so that only the round limit (4) or the loop detection ends it."""
    rollout = Rollout(ScriptedEngine(answer), GREEDY, rollout_params(max_repeats=max_repeats), split="eval", policy="scripted")
    (trajectory,) = rollout.play([(INSTRUCTIONS[0], 0)])
    return trajectory


@pytest.mark.parametrize("max_repeats", [2, 3])
def test_a_loop_truncates_the_episode(max_repeats: int, counting: str) -> None:
    trajectory = play_scripted(lambda number: "Action: 99", max_repeats)
    assert len({message.content for message in trajectory.messages[1:]}) == 2, "every round had the same answer and observation"
    assert (trajectory.status, trajectory.rounds, trajectory.truncated_by) == ("truncated", max_repeats, "loop")
    assert trajectory.error == f"the same answer to the same observation {max_repeats} times in a row"


def test_without_a_limit_a_loop_goes_on_to_the_round_limit(counting: str) -> None:
    trajectory = play_scripted(lambda number: "Action: 99", None)
    assert (trajectory.status, trajectory.rounds, trajectory.truncated_by, trajectory.error) == ("truncated", 4, None, None)


def test_answers_or_observations_that_change_are_no_loop(counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changing_answers = play_scripted(lambda number: f"Action: {98 + number % 2}", 2)
    assert (changing_answers.rounds, changing_answers.truncated_by) == (4, None)
    monkeypatch.setattr(Counting, "act", lambda self, action: (f"Round {self.rounds}.", 0.0, False))
    changing_observations = play_scripted(lambda number: "Action: 99", 2)
    assert len({message.content for message in changing_observations.messages[2::2]}) == 4
    assert (changing_observations.rounds, changing_observations.truncated_by) == (4, None)


def test_waiting_is_no_loop(counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "waiting_actions", frozenset({"99"}))
    assert play_scripted(lambda number: "Action: 99", 2).rounds == 4
    assert play_scripted(lambda number: "Action: 98", 2).rounds == 2


def test_a_model_in_a_loop_is_cut(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    """A model whose logits are the same after every history gives the same answer in every round."""
    model = load_model(small_models["llama"])
    with torch.no_grad():
        model.model.norm.weight.zero_()
    model.save_pretrained(tmp_path)
    load_tokenizer(small_models["llama"]).save_pretrained(tmp_path)
    whole = roll_out(tmp_path, INSTRUCTIONS, settings=rollout_params())
    cut = roll_out(tmp_path, INSTRUCTIONS, settings=rollout_params(max_repeats=2))
    assert [(trajectory.rounds, trajectory.truncated_by) for trajectory in whole] == [(4, None)] * len(INSTRUCTIONS)
    assert [(trajectory.rounds, trajectory.truncated_by) for trajectory in cut] == [(2, "loop")] * len(INSTRUCTIONS)
    assert [short.messages for short in cut] == [long.messages[:5] for long in whole]

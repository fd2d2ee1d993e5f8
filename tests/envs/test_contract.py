"""The contract of every environment: adding one to the registry adds it to these tests.

Invariant: nothing here knows an environment's rules, only the paper's sizes and the contract of envs/base.py.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from functools import cache
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from benchmarks.environments import PAPER
from envs import ENVIRONMENTS, TextEnv, UnknownItem, environment_class, environment_of, make
from tests import ROOT
from tests.envs import golden
from tests.shared import PROGRAMS

INVALID_ACTIONS = [
    "",
    "   ",
    "fly me to the moon",
    "move",
    "get -1 of",
    "craft 2 using",
    "go to nowhere 99",
    "pickup box 99999999999999999999",
    "__import__('os').system('true')",
    "'; DROP TABLE items; --",
    "%s {0} \\n \x00\x1b[2J",
    "높이 뛰다 🐸 ٣",
    "a" * 5000,
]

WITHOUT_PROGRESS = {"bird"}  # an episode is one answer, which has no parts

each_environment = pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
each_playable = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=f"{name}: {reason}"))
        for name in sorted(ENVIRONMENTS)
        for reason in [environment_class(name).missing()]
    ],
)


def sample(name: str, count: int = 20) -> list[str]:
    """Item ids spread over AgentTraj, or over AgentEval where an environment has no expert trajectories; fewer in a browser."""
    count = min(count, 7) if name == "webarena" else count
    items = environment_class(name).instructions("train") or environment_class(name).instructions("eval")
    return [items[index * len(items) // count].item_id for index in range(count)]


def check_progress(values: list[float | None], *, success: bool) -> None:
    """The progress of an episode from its reset to its end: None throughout, or from 0 to 1, never falling, and 1 exactly at success."""
    if None in values:
        assert set(values) == {None}
        return
    numbers = [value for value in values if value is not None]
    assert all(0 <= value <= 1 for value in numbers)
    assert numbers == sorted(numbers)
    assert [value == 1 for value in numbers] == [False] * (len(numbers) - 1) + [success]


def begin(name: str) -> TextEnv:
    env = make(name)
    env.reset(options={"item_id": sample(name, 1)[0]})
    return env


@each_playable
def test_gymnasium_accepts_it_without_a_warning(name: str) -> None:
    env = gymnasium.make(f"agentevol/{environment_class(name).__name__}-v0").unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@each_environment
def test_sizes_are_those_of_the_paper(name: str) -> None:
    cls = environment_class(name)
    counted = tuple(len(cls.instructions(split)) for split in ("explore", "eval", "train", "train_large"))
    sizes = cls.sizes
    assert (sizes.instructions, sizes.eval, sizes.agent_traj, sizes.agent_traj_l, len(cls.task_types)) == PAPER[name]
    assert counted == (sizes.instructions - sizes.eval, sizes.eval, sizes.agent_traj, sizes.agent_traj_l)


@each_environment
def test_every_environment_declares_its_version(name: str) -> None:
    version = vars(environment_class(name))["version"]
    assert isinstance(version, int)
    assert version >= 1


@each_environment
def test_splits_nest_and_eval_shares_nothing_with_training(name: str) -> None:
    cls = environment_class(name)
    train, large, explore, evaluation = (cls.instructions(split) for split in ("train", "train_large", "explore", "eval"))
    assert set(train) <= set(large) <= set(explore)
    assert not {item.item_id for item in evaluation} & {item.item_id for item in explore}
    assert not {item.text for item in evaluation} & {item.text for item in explore}
    assert len({item.item_id for item in (*explore, *evaluation)}) == cls.sizes.instructions


@each_environment
def test_instructions_are_described(name: str) -> None:
    cls = environment_class(name)
    items = (*cls.instructions("explore"), *cls.instructions("eval"))
    assert {item.task_type for item in items} == set(cls.task_types)
    assert {item.env for item in items} == {environment_of(item.item_id) for item in items} == {name}
    assert all(item.text and item.difficulty for item in items)
    assert all(cls.instruction(item.item_id) == item for item in items)


@each_environment
def test_the_prompt_explains_the_form_of_an_answer(name: str) -> None:
    prompt = environment_class(name).prompt
    assert prompt.isascii()
    assert "Thought:" in prompt
    assert "Action:" in prompt


@each_playable
def test_an_item_id_begins_with_the_same_observation_every_time(name: str) -> None:
    env, other = make(name), make(name)
    ids = sample(name, 10)
    first = [env.reset(options={"item_id": item_id})[0] for item_id in ids]
    second = [other.reset(seed=7, options={"item_id": item_id})[0] for item_id in reversed(ids)]
    assert first == second[::-1]


@each_playable
def test_expert_wins_in_time_and_its_actions_replay(name: str) -> None:
    env, replayed = make(name), make(name)
    for item_id in sample(name):
        first, turns = golden.expert_episode(env, item_id)
        assert env.succeeded(sum(turn.reward for turn in turns)), item_id
        assert turns[-1].terminated, item_id
        assert len(turns) <= env.max_rounds, item_id
        observation, info = replayed.reset(options={"item_id": item_id})
        assert observation == first
        progress = [info["progress"]]
        for turn in turns:
            observation, reward, terminated, truncated, info = replayed.step(turn.action)
            assert (observation, reward, terminated, truncated) == (turn.observation, turn.reward, turn.terminated, turn.truncated)
            assert replayed.observation_space.contains(observation)
            progress.append(info["progress"])
        assert info["success"]
        check_progress(progress, success=True)


@each_playable
def test_expert_answers_are_parsed_back(name: str) -> None:
    env = make(name)
    for turn in golden.expert_episode(env, sample(name, 1)[0])[1]:
        assert env.parse_action(f"Thought: {turn.thought}\nAction: {turn.action}") == turn.action
        assert env.parse_action(f"Thought:\n{turn.thought}\n\nAction:\n{turn.action}") == turn.action


@each_playable
def test_episodes_played_in_turns_do_not_affect_each_other(name: str) -> None:
    alone = make(name)
    episodes = {item_id: golden.expert_episode(alone, item_id) for item_id in sample(name, 3)}
    live = {item_id: make(name) for item_id in episodes}
    for item_id, (first, _) in episodes.items():
        assert live[item_id].reset(options={"item_id": item_id})[0] == first
    for index in range(max(len(turns) for _, turns in episodes.values())):
        for item_id, (_, turns) in episodes.items():
            if index < len(turns):
                assert live[item_id].step(turns[index].action)[0] == turns[index].observation


@each_playable
@pytest.mark.parametrize("action", INVALID_ACTIONS, ids=range(len(INVALID_ACTIONS)))
def test_an_invalid_action_is_answered_and_costs_a_round(name: str, action: str) -> None:
    env = begin(name)
    observation, reward, terminated, _, info = env.step(action)
    assert observation
    assert env.observation_space.contains(observation), "the answer must be printable ASCII: do not repeat the action unchanged"
    assert (reward, terminated, info["success"], env.rounds) == (0.0, False, False, 1)


@each_playable
def test_invalid_actions_alone_end_the_episode_without_success(name: str) -> None:
    env = begin(name)
    while not env.done:
        _, _, terminated, truncated, info = env.step("fly me to the moon")
    assert (terminated, truncated, info["success"], env.rounds) == (False, True, False, env.max_rounds)
    assert info["progress"] in ([None] if name in WITHOUT_PROGRESS else [0.0]), "nothing was done"


@each_playable
def test_random_play_among_the_available_actions_never_breaks(name: str) -> None:
    env, draw = make(name), random.Random(0)
    for item_id in sample(name, 10):
        _, info = env.reset(options={"item_id": item_id})
        progress = [info["progress"]]
        while not env.done and "available_actions" in info:
            assert info["available_actions"]
            observation, reward, *_, info = env.step(draw.choice(info["available_actions"]))
            assert env.observation_space.contains(observation)
            assert env.lowest_reward <= reward <= env.highest_reward
            progress.append(info["progress"])
        check_progress(progress, success=info["success"])


@each_playable
def test_stepping_after_the_end_is_refused(name: str) -> None:
    env = make(name)
    with pytest.raises(RuntimeError, match="reset"):
        env.step("anything")
    _, turns = golden.expert_episode(env, sample(name, 1)[0])
    for answer in (f"Action: {turns[-1].action}", "Action: anything", "no action"):
        with pytest.raises(RuntimeError, match="reset"):
            env.answer(answer)


@each_environment
@pytest.mark.parametrize("number", ["", "_", "_nonsense", "_-1", "_1.5", "_ 1", "_1\n", "_01", "_٣", "_" + "9" * 5000], ids=range(10))
def test_unknown_id_is_refused(name: str, number: str) -> None:
    with pytest.raises(UnknownItem):
        make(name).reset(options={"item_id": name + number})
    with pytest.raises(UnknownItem):
        environment_class(name).instruction(name + number)


@each_environment
def test_an_id_of_another_environment_is_refused(name: str) -> None:
    with pytest.raises(UnknownItem, match="nowhere_0"):
        make(name).reset(options={"item_id": "nowhere_0"})


@each_playable
@pytest.mark.parametrize("text", ["I do not know what to do.", "Action: \n", "Action: look\nAction: look again", ""])
def test_an_answer_without_exactly_one_action_gets_a_message(name: str, text: str) -> None:
    env = begin(name)
    observation, reward, terminated, _, _ = env.answer(text)
    assert "exactly one action" in observation
    assert (reward, terminated, env.rounds) == (0.0, False, 1)


@each_playable
def test_render_shows_the_last_observation(name: str) -> None:
    env = make(name, render_mode="ansi")
    first, _ = env.reset(options={"item_id": sample(name, 1)[0]})
    assert env.render() == first


@cache
def texts_in_a_new_process(names: tuple[str, ...], hash_seed: str, locale: str, what: str) -> dict[str, Any]:
    """The digests of these environments, as far as the process gets. `what`: print (all texts) or print-sample."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": locale, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "tests.envs.golden", f"--{what}", *names]
    process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    digests = [json.loads(line) for line in process.stdout.splitlines()]
    return {name: value for entry in digests for name, value in entry.items()}


PROCESSES = [("0", "C.UTF-8"), ("1", "C"), ("2", "POSIX")]


@pytest.mark.parametrize(
    ("name", "hash_seed", "locale"),
    [
        (name, hash_seed, locale)
        for name in sorted(ENVIRONMENTS)
        if environment_class(name).missing() is None
        for hash_seed, locale in (PROCESSES[:2] if name in PROGRAMS else PROCESSES)  # POSIX is another name of C, and this takes longest
    ],
)
@pytest.mark.slow
def test_the_texts_are_the_committed_ones_in_any_process(name: str, hash_seed: str, locale: str) -> None:
    playable = tuple(env for env in sorted(ENVIRONMENTS) if environment_class(env).missing() is None)
    names = (name,) if name in PROGRAMS else tuple(env for env in playable if env not in PROGRAMS)
    # Every text is made once, and a part of them under another hash seed, where making them takes long.
    what = "print" if hash_seed == "0" or name not in PROGRAMS else "print-sample"
    texts = texts_in_a_new_process(names, hash_seed, locale, what)
    assert name in texts, "the process ended before this environment; its error is in the output above"
    assert (problem := golden.mismatch(name, golden.committed(name), texts[name])) is None, problem

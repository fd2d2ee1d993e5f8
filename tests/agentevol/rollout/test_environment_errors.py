"""Environments that break their contract in one episode: that episode is an error with one clear line, and the others are played."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.trajectory import Trajectory, content_digest
from agentevol.rollout.environment_thread import CallFailed, EnvironmentThread, StepTimeout
from agentevol.rollout.rollout import GREEDY, Rollout, roll_out
from envs.checks import check_observation, check_reward, replace_surrogates
from tests.agentevol.counting import Counting, rollout_params
from tests.agentevol.rollout.test_rollout import ScriptedEngine

pytestmark = pytest.mark.usefixtures("counting")
INSTRUCTIONS = Counting.instructions("explore")[:6]
BROKEN = INSTRUCTIONS[2].item_id
SURROGATE = "\ud83d"


def play(answer: str = "Action: 99", **settings: Any) -> list[Trajectory]:
    rollout = Rollout(
        ScriptedEngine(lambda number: answer), GREEDY, rollout_params(**{"max_retries": 0, **settings}), split="eval", policy="scripted"
    )
    return rollout.play([(instruction, 0) for instruction in INSTRUCTIONS])


def break_method(monkeypatch: pytest.MonkeyPatch, name: str, behaviour: Callable[[], Any]) -> None:
    """The method of the broken episode does this, that of the others what it always does."""
    original = getattr(Counting, name)

    def method(self: Counting, text: str) -> Any:
        is_broken = BROKEN in (text, self.item_id)
        return behaviour() if is_broken else original(self, text)

    monkeypatch.setattr(Counting, name, method)


def assert_one_error(trajectories: list[Trajectory], expected: str) -> None:
    assert [trajectory.item_id for trajectory in trajectories] == [instruction.item_id for instruction in INSTRUCTIONS]
    (broken,) = [trajectory for trajectory in trajectories if trajectory.status == "error"]
    assert (broken.item_id, broken.reward, broken.success) == (BROKEN, 0.0, False)
    assert expected in str(broken.error)
    assert str(broken.error).startswith("environment: ")
    assert "\n" not in str(broken.error)
    for trajectory in trajectories:
        assert math.isfinite(trajectory.reward)
        json.dumps(trajectory.to_row(), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("value", [None, 7, 2.5, ["a list"], {"a": "dict"}, b"bytes"])
def test_an_observation_that_is_no_text_is_an_error(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, "act", lambda: (value, 0.0, False))
    expected = f"TypeError: the observation is {value!r} ({type(value).__name__}); an environment must return text"
    assert_one_error(play(), expected)


@pytest.mark.parametrize("value", [None, 7, ["a list"]])
def test_a_first_observation_that_is_no_text_is_an_error(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, "begin", lambda: value)
    assert_one_error(play(), f"TypeError: the observation is {value!r}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1.0", [1.0]])
def test_a_reward_that_is_no_finite_number_is_an_error(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, "act", lambda: ("Well.", value, True))
    assert_one_error(play(), f"the reward is {value!r} ({type(value).__name__}); an environment must return a finite number")


def test_rewards_whose_sum_is_infinite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, "act", lambda: ("Well.", 1e308, False))
    assert_one_error(play(), "the reward is inf")


def test_a_reset_and_a_step_of_its_own_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "answer", lambda self, text: ("Well.", math.nan, True, False, {}))
    assert {trajectory.error for trajectory in play()} == {
        "environment: ValueError: the reward is nan (float); an environment must return a finite number"
    }
    monkeypatch.setattr(Counting, "reset", lambda self, **_: (None, {}))
    assert {trajectory.error for trajectory in play()} == {
        "environment: TypeError: the observation is None (NoneType); an environment must return text"
    }


@pytest.mark.parametrize("name", ["begin", "act"])
def test_an_environment_that_exits_the_process_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, name, lambda: sys.exit("bye"))
    assert_one_error(play(), "SystemExit: bye")


def test_an_environment_that_exits_when_it_is_closed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "close", lambda self: sys.exit(3) if self.item_id == BROKEN else None)
    assert_one_error(play(), "SystemExit: 3")


@pytest.mark.parametrize("name", ["begin", "act"])
def test_a_keyboard_interrupt_ends_the_rollout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    break_method(monkeypatch, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        play()


def test_lone_surrogates_are_replaced_in_observations_answers_and_errors(
    small_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_method(monkeypatch, "act", lambda: (f"You see {SURROGATE}.", 0.0, False))
    monkeypatch.setattr(Counting, "parse_action", classmethod(lambda cls, text: text))
    trajectories = play(answer=f"Say {SURROGATE}")
    assert {trajectory.status for trajectory in trajectories} == {"truncated"}
    assert [message.content for message in trajectories[2].messages[1:3]] == ["Say \ufffd", "You see \ufffd."]
    content_digest(trajectories)
    assert roll_out(small_models["llama"], INSTRUCTIONS[:3], settings=rollout_params())[2].status == "truncated"

    def fail() -> None:
        raise ValueError(f"cannot read {SURROGATE}")

    break_method(monkeypatch, "begin", fail)
    assert_one_error(play(), "ValueError: cannot read \ufffd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain \u00e9 \U0001f600", "plain \u00e9 \U0001f600"), ("\ud83d\ude00", "\U0001f600"), ("a\udc80b\ud83d", "a\ufffdb\ufffd")],
)
def test_only_lone_surrogates_are_replaced(text: str, expected: str) -> None:
    assert replace_surrogates(text) == expected
    assert check_observation(text) == expected


def test_a_reward_may_be_any_finite_number() -> None:
    assert [check_reward(value) for value in (1, True, 0.5)] == [1.0, 1.0, 0.5]


# --- calls that never return --------------------------------------------------------------------------------------------


def loop_for_ever() -> None:
    while True:
        pass


@pytest.mark.parametrize("name", ["begin", "act"])
@pytest.mark.parametrize("behaviour", [loop_for_ever, lambda: time.sleep(5)], ids=["loop", "sleep"])
def test_a_call_that_never_returns_is_an_error(name: str, behaviour: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    break_method(monkeypatch, name, behaviour)
    start = time.monotonic()
    trajectories = play(step_timeout=0.5)
    assert time.monotonic() - start < 4, "the rollout waited for the call"
    assert_one_error(trajectories, "StepTimeout: no result after 0.5 seconds; if the environment is only slow, raise rollout.step_timeout")


def test_a_close_that_never_returns_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "close", lambda self: time.sleep(5) if self.item_id == BROKEN else None)
    assert_one_error(play(step_timeout=0.5), "StepTimeout")


def test_a_loop_ends_after_its_timeout_and_its_environment_is_closed() -> None:
    closed = threading.Event()
    thread = EnvironmentThread(0.2)
    with pytest.raises(CallFailed) as caught:
        thread.call(loop_for_ever)
    assert isinstance(caught.value.cause, StepTimeout)
    thread.close(closed.set)
    assert closed.wait(10)


def test_all_calls_of_an_episode_run_in_one_thread_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, set[int]] = {}

    def record(self: Counting) -> None:
        calls.setdefault(str(self.item_id), set()).add(threading.get_ident())

    act = Counting.act
    monkeypatch.setattr(Counting, "act", lambda self, action: (record(self), act(self, action))[1])
    monkeypatch.setattr(Counting, "close", record)
    before = set(threading.enumerate())  # among them those that other tests left in a call
    play(step_timeout=None)
    assert len(calls) == len(INSTRUCTIONS)
    assert {len(threads) for threads in calls.values()} == {1}
    deadline = time.monotonic() + 10
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left

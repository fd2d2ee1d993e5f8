"""Environments that step in the background: one that waits stalls no other episode, and results are those without threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import envs
from agentevol.data.trajectory import Trajectory
from agentevol.rollout.engine import GenerationResult
from agentevol.rollout.rollout import GREEDY, Rollout, roll_out
from agentevol.rollout.sampling import Sampling
from tests.agentevol.counting import Counting, rollout_params
from tests.agentevol.rollout.test_rollout import ScriptedEngine

pytestmark = pytest.mark.usefixtures("counting")
INSTRUCTIONS = Counting.instructions("explore")[:6]
SLOW = INSTRUCTIONS[0].item_id


class CountingEngine(ScriptedEngine):
    """A scripted engine that counts its results, and how often it is asked while it has no request."""

    num_slots = 3

    def __init__(self) -> None:
        super().__init__(lambda number: f"Action: {90 + number}")
        self.results, self.polls_without_request = 0, 0

    def poll(self, timeout: float | None = None) -> list[GenerationResult]:
        self.polls_without_request += not self.requests
        results = super().poll()
        self.results += len(results)
        return results


class SlowEnvironment:
    """The method of one episode's environment waits until all other episodes are over, at most five seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.engine = CountingEngine()
        self.others_are_over, self.waiting = threading.Event(), threading.Event()
        self.stalled_the_others, self.results_meanwhile = True, 0
        original: Callable[..., Any] = getattr(Counting, method)

        def slow(env: Counting, *inputs: str) -> Any:
            if SLOW in (env.item_id, *inputs) and not self.waiting.is_set():
                self.waiting.set()
                before = self.engine.results
                self.stalled_the_others = not self.others_are_over.wait(5)
                self.results_meanwhile = self.engine.results - before
            return original(env, *inputs)

        monkeypatch.setattr(Counting, method, slow)

    def play(self, **settings: Any) -> list[Trajectory]:
        def progress(done: int, total: int) -> None:
            if done == total - 1:
                self.others_are_over.set()

        params = rollout_params(**{"max_retries": 0, **settings})
        rollout = Rollout(self.engine, GREEDY, params, split="eval", policy="scripted")
        return rollout.play([(instruction, 0) for instruction in INSTRUCTIONS], progress)


@pytest.mark.parametrize("method", ["begin", "act", "close"])
def test_an_environment_that_waits_stalls_no_other_episode(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowEnvironment(monkeypatch, method)
    trajectories = slow.play(concurrent_steps="all")
    assert not slow.stalled_the_others
    assert 0 < slow.results_meanwhile <= 4 * (len(INSTRUCTIONS) - 1)
    assert [trajectory.item_id for trajectory in trajectories] == [instruction.item_id for instruction in INSTRUCTIONS]
    assert [(trajectory.status, trajectory.rounds, trajectory.error) for trajectory in trajectories] == [("truncated", 4, None)] * 6
    assert slow.engine.polls_without_request < 20, "the rollout asked an idle engine again and again instead of waiting"


def test_without_it_the_rollout_waits_for_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowEnvironment(monkeypatch, "act")
    trajectories = slow.play(step_timeout=0.3)
    assert slow.stalled_the_others
    assert slow.results_meanwhile == 0
    assert [trajectory.status for trajectory in trajectories] == ["error"] + ["truncated"] * 5


@pytest.mark.parametrize("kind", ["says that it is slow", "on a server", "neither"])
def test_slow_environments_are_those_that_say_so_and_those_on_a_server(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowEnvironment(monkeypatch, "act")
    servers = {}
    if kind == "says that it is slow":
        monkeypatch.setattr(Counting, "slow", True)
    elif kind == "on a server":
        servers = {"counting": "http://127.0.0.1:1"}
        monkeypatch.setattr(envs, "make", lambda name, server=None: Counting())
    else:
        slow.others_are_over.set()
    trajectories = slow.play(concurrent_steps="slow", servers=servers)
    assert [trajectory.status for trajectory in trajectories] == ["truncated"] * 6
    assert not slow.stalled_the_others
    assert (slow.results_meanwhile > 0) == (kind != "neither")


def test_tokens_errors_and_retries_are_those_without_threads(small_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    act, failed = Counting.act, set[str]()

    def break_once(self: Counting, action: str) -> tuple[str, float, bool]:
        if self.item_id == "counting_5":
            raise ConnectionError("the server went away")
        if self.item_id == "counting_6" and self.item_id not in failed:
            failed.add(self.item_id)
            raise ConnectionError("only once")
        return act(self, action)

    monkeypatch.setattr(Counting, "act", break_once)
    monkeypatch.setattr(Counting, "parse_action", classmethod(lambda cls, text: text))
    played = []
    for mode in ("none", "all"):
        failed.clear()
        sampling = Sampling(temperature=1.0, seed=5)
        played.append(roll_out(small_models["qwen"], INSTRUCTIONS, sampling=sampling, settings=rollout_params(concurrent_steps=mode)))
    for ours, expected in zip(*played, strict=True):
        assert (ours.item_id, ours.token_ids, ours.loss_mask) == (expected.item_id, expected.token_ids, expected.loss_mask)
        assert (ours.messages, ours.status, ours.error, ours.reward) == (
            expected.messages,
            expected.status,
            expected.error,
            expected.reward,
        )
    assert sum(trajectory.status == "error" for trajectory in played[0]) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_ends_a_rollout_ends_it_from_a_thread_too(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt in an environment, or a mistake in the product; the other environments are closed."""
    closed: list[str] = []
    monkeypatch.setattr(Counting, "close", lambda self: closed.append(str(self.item_id)))
    slow = SlowEnvironment(monkeypatch, "act")

    def fail(*_: object) -> None:
        raise error

    if error is KeyboardInterrupt:
        monkeypatch.setattr(Counting, "act", fail)
    else:
        monkeypatch.setattr("agentevol.rollout.episode.Episode.step", fail)
    with pytest.raises(error):
        slow.play(concurrent_steps="all")
    done = threading.Event()
    for _ in range(100):
        if len(closed) >= 3:
            break
        done.wait(0.05)
    assert len(set(closed)) == 3


def test_a_call_that_never_returns_is_an_error_in_the_background_too(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowEnvironment(monkeypatch, "act")
    monkeypatch.setattr(slow.others_are_over, "set", lambda: None)
    trajectories = slow.play(concurrent_steps="all", step_timeout=0.3)
    assert [trajectory.status for trajectory in trajectories] == ["error"] + ["truncated"] * 5
    assert "StepTimeout: no result after 0.3 seconds" in str(trajectories[0].error)

"""The engine for endpoints against a small real server: what it asks, what it takes for a fault, what ends the rollout, what it costs."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

import agentevol.rollout.engines.openai as engine_file
from agentevol.data.trajectory import Trajectory
from agentevol.rollout.engine import EngineError, Usage
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from tests.agentevol.counting import Counting
from tests.agentevol.endpoint import Endpoint, serving

pytestmark = pytest.mark.usefixtures("counting", "quick")
INSTRUCTIONS = Counting.instructions("explore")
KEY = "sk-very-secret-1234"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_file, "_PAUSE", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "")


def play(endpoint: Endpoint, count: int = 9, settings: dict[str, Any] | None = None, **engine: Any) -> tuple[list[Trajectory], Usage]:
    usage = Usage()
    how = EngineParams(kind="openai", url=endpoint.url, **{"model": "counter", **engine})
    rollout = RolloutParams(**{"slots": 4, "retries": 0, **(settings or {})})
    sampling = Sampling(temperature=0.5, top_p=0.9, seed=1)
    return roll_out(None, INSTRUCTIONS[:count], sampling=sampling, settings=rollout, engine=how, usage=usage, policy="hosted"), usage


def test_a_hosted_model_plays_its_episodes_side_by_side() -> None:
    with serving(pause=0.05) as endpoint:
        played, usage = play(endpoint)
    assert [one.item_id for one in played] == [one.item_id for one in INSTRUCTIONS]
    assert all(one.success and one.status == "finished" for one in played)
    assert endpoint.most_at_once == 4
    assert (usage.requests, usage.repeated) == (len(endpoint.seen), 0)
    assert usage.tokens_in > usage.tokens_out > 0
    one = played[0]
    assert (one.token_ids, one.loss_mask, one.policy) == (None, None, "hosted")
    assert [message.loss for message in one.messages] == [None, True, None, True, None][: len(one.messages)]
    assert one.tokens < usage.tokens_in


def test_a_request_says_who_speaks_and_how() -> None:
    with serving() as endpoint:
        play(endpoint, 1, options={"reasoning_effort": "low", "top_p": None})
        play(endpoint, 1)
    first = endpoint.seen[0]
    assert first["model"] == "counter"
    assert first["messages"][0] == {"role": "user", "content": "Count up, one number a round.\n\n" + INSTRUCTIONS[0].text}
    assert [message["role"] for message in endpoint.seen[1]["messages"]] == ["user", "assistant", "user"]
    assert (first["temperature"], first["max_tokens"], first["reasoning_effort"]) == (0.5, 128, "low")
    assert "top_p" not in first
    seeds = [body["seed"] for body in endpoint.seen]
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
    assert len(set(seeds)) == len(seeds) // 2


def test_what_passes_is_asked_again_and_plays_the_same() -> None:
    with serving() as endpoint:
        sound, _ = play(endpoint)
    with serving(before=[429, 500, "hang up", 503, "nonsense", 429, 502]) as endpoint:
        played, usage = play(endpoint)
    assert [one.messages for one in played] == [one.messages for one in sound]
    assert usage.repeated == 7


def test_a_slow_answer_is_asked_for_again() -> None:
    with serving(before=["slow"]) as endpoint:
        played, usage = play(endpoint, 1, timeout=1.0)
    assert played[0].success
    assert usage.repeated >= 1


def test_what_goes_on_failing_is_a_fault_of_its_episode_alone() -> None:
    with serving(before=[500, 500, 500]) as endpoint:
        played, usage = play(endpoint, 3, settings={"slots": 1}, retries=2)
    assert [one.status for one in played] == ["error", "finished", "finished"]
    assert "answered 500; asked 3 times" in str(played[0].error)
    assert str(played[0].error).startswith("engine: ")
    assert usage.repeated == 2


def test_an_episode_that_a_fault_ended_is_played_again() -> None:
    with serving(before=[500]) as endpoint:
        played, _ = play(endpoint, 1, settings={"retries": 1}, retries=0)
    assert played[0].success


def test_everybody_waits_as_long_as_the_server_says() -> None:
    with serving(before=[429], retry_after="0.6") as endpoint:
        began = time.monotonic()
        play(endpoint, 2)
        assert time.monotonic() - began >= 0.6


def test_the_rate_limit_spreads_the_requests() -> None:
    with serving() as endpoint:
        began = time.monotonic()
        _, usage = play(endpoint, 3, per_minute=600)
        assert time.monotonic() - began >= 0.1 * (usage.requests - 1)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"key": KEY}, "401: no key was sent, for OPENAI_API_KEY is not set"),
        ({"always": 404}, "refused 'counter' with 404: .*is the address right"),
        ({"always": 400}, "with 400"),
        ({"always": 429, "error": {"code": "insufficient_quota"}}, "with 429: .*insufficient_quota"),
    ],
)
def test_what_will_not_pass_ends_the_rollout_in_one_line(how: dict[str, Any], expected: str) -> None:
    with serving(**how) as endpoint, pytest.raises(EngineError, match=expected) as caught:
        play(endpoint)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_ends_the_rollout() -> None:
    with serving() as endpoint:
        pass
    with pytest.raises(EngineError, match=r"cannot be reached.*is it running"):
        play(endpoint, 2, retries=1)


def test_the_key_comes_from_the_environment_and_is_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving(key=KEY) as endpoint:
        played, _ = play(endpoint, 2, key_from="SOME_KEY")
        assert all(one.success for one in played)
        monkeypatch.setenv("SOME_KEY", f"{KEY}-wrong")
        with pytest.raises(EngineError, match="401: the key in SOME_KEY was sent") as caught:
            play(endpoint, 1, key_from="SOME_KEY")
        monkeypatch.setenv("SOME_KEY", f"{KEY}\nX-Other: 1")
        with pytest.raises(EngineError, match="SOME_KEY holds no key") as unusable:
            play(endpoint, 1, key_from="SOME_KEY")
    for told in (str(caught.value), str(unusable.value), caplog.text, repr([one.to_row() for one in played])):
        assert KEY not in told


def test_a_full_context_cuts_the_episode() -> None:
    with serving(always=400, error={"code": "context_length_exceeded"}) as endpoint:
        there, _ = play(endpoint, 1)
    with serving() as endpoint:
        here, _ = play(endpoint, 3, settings={"context": 19})
    assert (there[0].status, there[0].truncated_by) == ("truncated", "context")
    assert {(one.status, one.truncated_by) for one in here if not one.success} == {("truncated", "context")}


def test_an_answer_that_was_cut_is_an_answer() -> None:
    with serving() as endpoint:
        played, _ = play(endpoint, 1, settings={"max_new_tokens": 3, "repeats": None})
    assert played[0].status in ("truncated", "finished")
    assert played[0].rounds >= 1
    assert played[0].messages[1].content == "Thought: After " + INSTRUCTIONS[0].item_id.removeprefix("counting_")


def test_a_policy_is_loaded_into_vllms_server_first(small_models: dict[str, Path]) -> None:
    how = {"settings": RolloutParams(slots=2), "policy": "own"}
    with serving() as endpoint:
        engine = EngineParams(kind="openai", url=endpoint.url, model="own", refresh="vllm")
        played = roll_out(small_models["llama"], INSTRUCTIONS[:2], engine=engine, **how)  # type: ignore[arg-type]
        assert endpoint.paths[:2] == ["/collective_rpc", "/reset_prefix_cache"]
        with pytest.raises(EngineError, match=r"engine\.refresh: null given"):
            roll_out(small_models["llama"], INSTRUCTIONS[:2], engine=engine.model_copy(update={"refresh": None}), **how)  # type: ignore[arg-type]
    assert all(one.success for one in played)
    assert len(played[0].policy_hash) == 64

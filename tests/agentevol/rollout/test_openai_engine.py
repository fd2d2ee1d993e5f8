"""The `openai` engine against a small real server: its requests, its retries, the errors that end a rollout, its usage counts."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

import agentevol.rollout.engines.openai as openai_engine
from agentevol.data.trajectory import Trajectory, content_digest
from agentevol.rollout.engine import EngineError, Usage
from agentevol.rollout.rollout import roll_out
from agentevol.rollout.sampling import Sampling
from agentevol.settings.engines import EngineParams
from agentevol.settings.schema import RolloutParams
from tests.agentevol.counting import Counting
from tests.agentevol.endpoint import Endpoint, count, serve_endpoint

pytestmark = pytest.mark.usefixtures("counting", "short_retry_delay")
INSTRUCTIONS = Counting.instructions("explore")
KEY = "sk-very-secret-1234"


@pytest.fixture
def short_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_engine, "_FIRST_RETRY_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")


def play(endpoint: Endpoint, count: int = 9, settings: dict[str, Any] | None = None, **engine: Any) -> tuple[list[Trajectory], Usage]:
    usage = Usage()
    trajectories = roll_out(
        None,
        INSTRUCTIONS[:count],
        sampling=Sampling(temperature=0.5, top_p=0.9, seed=1),
        policy="hosted",
        settings=RolloutParams(**{"concurrency": 4, "max_retries": 0, **(settings or {})}),
        engine=EngineParams(kind="openai", **{"url": endpoint.url, "model": "counter", **engine}),
        usage=usage,
    )
    return trajectories, usage


def test_a_hosted_model_plays_its_episodes_concurrently() -> None:
    with serve_endpoint(response_delay=0.05) as endpoint:
        trajectories, usage = play(endpoint)
    assert [trajectory.item_id for trajectory in trajectories] == [instruction.item_id for instruction in INSTRUCTIONS]
    assert all(trajectory.success and trajectory.status == "finished" for trajectory in trajectories)
    assert endpoint.max_concurrent == 4
    assert (usage.requests, usage.repeated) == (len(endpoint.bodies), 0)
    assert usage.tokens_in > usage.tokens_out > 0
    first = trajectories[0]
    assert (first.token_ids, first.loss_mask, first.policy) == (None, None, "hosted")
    assert [message.loss for message in first.messages] == [None, True, None, True, None][: len(first.messages)]
    assert first.tokens < usage.tokens_in


def test_a_request_has_the_model_the_messages_and_the_sampling_parameters() -> None:
    with serve_endpoint() as endpoint:
        play(endpoint, 1, options={"reasoning_effort": "low", "top_p": None})
        play(endpoint, 1)
    first = endpoint.bodies[0]
    assert first["model"] == "counter"
    assert first["messages"][0] == {"role": "user", "content": "Count up, one number a round.\n\n" + INSTRUCTIONS[0].text}
    assert [message["role"] for message in endpoint.bodies[1]["messages"]] == ["user", "assistant", "user"]
    assert (first["temperature"], first["max_tokens"], first["reasoning_effort"]) == (0.5, 128, "low")
    assert "top_p" not in first
    seeds = [body["seed"] for body in endpoint.bodies]
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
    assert len(set(seeds)) == len(seeds) // 2


def test_temporary_problems_are_retried_and_do_not_change_the_episodes() -> None:
    with serve_endpoint() as endpoint:
        expected, _ = play(endpoint)
    with serve_endpoint(first_problems=[429, 500, "hang up", 503, "nonsense", 429, 502]) as endpoint:
        trajectories, usage = play(endpoint)
    assert [trajectory.messages for trajectory in trajectories] == [trajectory.messages for trajectory in expected]
    assert usage.repeated == 7


def test_a_request_that_times_out_is_retried() -> None:
    with serve_endpoint(first_problems=["slow"]) as endpoint:
        trajectories, usage = play(endpoint, 1, timeout=1.0)
    assert trajectories[0].success
    assert usage.repeated >= 1


def test_a_request_that_keeps_failing_is_an_error_of_its_episode_alone() -> None:
    with serve_endpoint(first_problems=[500, 500, 500]) as endpoint:
        trajectories, usage = play(endpoint, 3, settings={"concurrency": 1}, max_retries=2)
    assert [trajectory.status for trajectory in trajectories] == ["error", "finished", "finished"]
    assert "answered 500; asked 3 times" in str(trajectories[0].error)
    assert str(trajectories[0].error).startswith("engine: ")
    assert usage.repeated == 2


def test_an_episode_that_ended_with_an_error_is_retried() -> None:
    with serve_endpoint(first_problems=[500]) as endpoint:
        trajectories, _ = play(endpoint, 1, settings={"max_retries": 1}, max_retries=0)
    assert trajectories[0].success


def test_all_requests_wait_as_long_as_the_server_asks() -> None:
    with serve_endpoint(first_problems=[429], retry_after="0.6") as endpoint:
        start = time.monotonic()
        play(endpoint, 2)
        assert time.monotonic() - start >= 0.6


def test_the_rate_limit_spaces_the_requests() -> None:
    with serve_endpoint() as endpoint:
        start = time.monotonic()
        _, usage = play(endpoint, 3, requests_per_minute=600)
        assert time.monotonic() - start >= 0.1 * (usage.requests - 1)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"api_key": KEY}, "401: no key was sent; set api_key_env"),
        ({"always": 404}, "rejected the request for 'counter' with 404: .*is the address right"),
        ({"always": 400}, "with 400"),
        ({"always": 429, "error": {"code": "insufficient_quota"}}, "with 429: .*insufficient_quota"),
    ],
)
def test_a_permanent_problem_ends_the_rollout_with_one_line(behaviour: dict[str, Any], expected: str) -> None:
    with serve_endpoint(**behaviour) as endpoint, pytest.raises(EngineError, match=expected) as caught:
        play(endpoint)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_running_ends_the_rollout() -> None:
    with serve_endpoint() as endpoint:
        pass
    with pytest.raises(EngineError, match=r"cannot be reached.*is it running"):
        play(endpoint, 2, max_retries=1)


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)
    with serve_endpoint(api_key=KEY) as endpoint:
        trajectories, _ = play(endpoint, 2, api_key_env="SOME_KEY")
        assert all(trajectory.success for trajectory in trajectories)
        monkeypatch.setenv("SOME_KEY", f"{KEY}-wrong")
        with pytest.raises(EngineError, match="401: the key in SOME_KEY was sent") as wrong:
            play(endpoint, 1, api_key_env="SOME_KEY")
        monkeypatch.setenv("SOME_KEY", f"{KEY}\nX-Other: 1")
        with pytest.raises(EngineError, match="SOME_KEY holds no key") as unusable:
            play(endpoint, 1, api_key_env="SOME_KEY")
    for text in (str(wrong.value), str(unusable.value), caplog.text, repr([trajectory.to_row() for trajectory in trajectories])):
        assert KEY not in text


def test_no_key_is_sent_unless_its_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_endpoint() as endpoint:
        play(endpoint, 1)
        assert set(endpoint.authorizations) == {None}
        monkeypatch.delenv("SOME_KEY", raising=False)
        with pytest.raises(EngineError, match="SOME_KEY is not set"):
            play(endpoint, 1, api_key_env="SOME_KEY")
        monkeypatch.setenv("SOME_KEY", KEY)
        with pytest.raises(EngineError, match="not sent over plain http") as caught:
            play(endpoint, 1, api_key_env="SOME_KEY", url="http://192.0.2.1/v1")
    assert KEY not in str(caught.value)


def test_a_full_context_truncates_the_episode() -> None:
    with serve_endpoint(always=400, error={"code": "context_length_exceeded"}) as endpoint:
        (reported_by_server,), _ = play(endpoint, 1)
    with serve_endpoint() as endpoint:
        found_here, _ = play(endpoint, 3, settings={"context_length": 19})
    assert (reported_by_server.status, reported_by_server.truncated_by) == ("truncated", "context")
    assert {(trajectory.status, trajectory.truncated_by) for trajectory in found_here if not trajectory.success} == {
        ("truncated", "context")
    }


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "prompt is too long: 210001 tokens > 200000 maximum"),
        (
            400,
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000, decrease input length",
        ),
        (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
        (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 290000 tokens."),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
        (400, "Input is too long for requested model."),
        (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
        (400, "the request exceeds the available context size, try increasing it"),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
        (
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens",
        ),
        (400, "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"),
        (400, "Invalid request: Your request exceeded model token limit: 8192"),
        (400, "Range of input length should be [1, 30720]"),
        (413, "Request body too large for gpt-4o model. Max size: 8000 tokens."),
    ],
)
def test_a_full_context_is_recognized_in_the_words_of_many_servers(status: int, message: str) -> None:
    with serve_endpoint(refuse=lambda messages: (status, message)) as endpoint:
        (trajectory,), _ = play(endpoint, 1)
    assert (trajectory.status, trajectory.truncated_by) == ("truncated", "context")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
        (400, "Invalid prompt: we've limited access to this content for safety reasons."),
        (403, "openai/moderation: the input was flagged"),
        (422, "no"),
    ],
)
def test_a_prompt_that_the_server_refuses_is_an_error_of_its_episode_alone(status: int, message: str) -> None:
    def refuse(messages: list[dict[str, str]]) -> tuple[int, str] | None:
        return (status, message) if INSTRUCTIONS[0].text in messages[0]["content"] else None

    with serve_endpoint(refuse=refuse) as endpoint:
        trajectories, usage = play(endpoint)
    assert [trajectory.status for trajectory in trajectories] == ["error"] + ["finished"] * 8
    assert f"rejected the request for 'counter' with {status}: " in str(trajectories[0].error)
    assert message in str(trajectories[0].error)
    assert usage.repeated == 0


@pytest.mark.parametrize("message", ["The model `countre` does not exist", "Unsupported parameter: 'max_tokens'", "API key not valid."])
def test_a_wrong_setting_that_is_refused_with_400_ends_the_rollout_at_once(message: str) -> None:
    with serve_endpoint(refuse=lambda messages: (400, message)) as endpoint, pytest.raises(EngineError, match="with 400: .*" + message):
        play(endpoint, 1)


def test_an_empty_answer_that_the_server_refuses_as_history_is_replaced() -> None:
    def refuse(messages: list[dict[str, str]]) -> tuple[int, str] | None:
        return None if all(message["content"].strip() for message in messages) else (400, "text content blocks must be non-empty")

    def answer(messages: list[dict[str, str]]) -> str:
        return "" if len(messages) == 1 else count(messages)

    with serve_endpoint(answer=answer) as endpoint:
        expected, _ = play(endpoint)
        assert any(message["content"] == "" for body in endpoint.bodies for message in body["messages"])
    with serve_endpoint(answer=answer, refuse=refuse) as endpoint:
        trajectories, _ = play(endpoint)
    assert [trajectory.messages for trajectory in trajectories] == [trajectory.messages for trajectory in expected]
    assert {trajectory.messages[1].content for trajectory in trajectories} == {""}
    assert all(trajectory.success for trajectory in trajectories)


@pytest.mark.parametrize("message", [{"content": None}, {"content": "", "reasoning_content": "Let me think."}])
def test_a_model_that_used_all_its_tokens_before_its_answer_is_an_error(message: dict[str, Any]) -> None:
    with serve_endpoint(choice={"message": {"role": "assistant", **message}, "finish_reason": "length"}) as endpoint:
        trajectories, _ = play(endpoint, 2)
    assert {trajectory.status for trajectory in trajectories} == {"error"}
    assert "tokens before its answer began (finish_reason: length); raise rollout.max_new_tokens" in str(trajectories[0].error)


def test_an_empty_answer_without_reasoning_is_an_answer() -> None:
    with serve_endpoint(choice={"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}) as endpoint:
        (trajectory,), _ = play(endpoint, 1)
    assert (trajectory.status, trajectory.messages[1].content) == ("truncated", "")


def test_a_refused_prompt_never_ends_a_rollout_that_had_answers() -> None:
    def refuse(messages: list[dict[str, str]]) -> tuple[int, str] | None:
        return (400, "The model does not exist, says the prompt") if INSTRUCTIONS[8].text in messages[0]["content"] else None

    with serve_endpoint(refuse=refuse) as endpoint:
        trajectories, _ = play(endpoint)
    assert [trajectory.status for trajectory in trajectories] == ["finished"] * 8 + ["error"]


def test_max_tokens_that_the_model_does_not_allow_are_no_full_context() -> None:
    with serve_endpoint(refuse=lambda messages: (400, "Invalid request: max_tokens is too large: 128. At most 64.")) as endpoint:
        (trajectory,), _ = play(endpoint, 1)
    assert (trajectory.status, trajectory.truncated_by) == ("error", None)


def test_an_answer_that_a_content_filter_withholds_is_an_error() -> None:
    with serve_endpoint(choice={"message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}) as endpoint:
        (trajectory,), _ = play(endpoint, 1)
    assert (trajectory.status, "withheld the answer" in str(trajectory.error)) == ("error", True)


def test_a_lone_surrogate_in_an_answer_is_replaced() -> None:
    with serve_endpoint(answer=lambda messages: "Say \ud83d") as endpoint:
        trajectories, _ = play(endpoint, 2)
    assert {trajectory.status for trajectory in trajectories} == {"truncated"}
    assert {trajectory.messages[1].content for trajectory in trajectories} == {"Say \ufffd"}
    content_digest(trajectories)


def test_an_answer_of_max_new_tokens_is_used_as_it_is() -> None:
    with serve_endpoint() as endpoint:
        (trajectory,), _ = play(endpoint, 1, settings={"max_new_tokens": 3, "max_repeats": None})
    assert trajectory.status in ("truncated", "finished")
    assert trajectory.rounds >= 1
    assert trajectory.messages[1].content == "Thought: After " + INSTRUCTIONS[0].item_id.removeprefix("counting_")


def test_vllms_server_loads_the_policy_first(small_models: dict[str, Path]) -> None:
    def play_own(engine: EngineParams, **options: Any) -> list[Trajectory]:
        settings = RolloutParams(concurrency=2)
        return roll_out(small_models["llama"], INSTRUCTIONS[:2], engine=engine, settings=settings, policy="own", **options)

    with serve_endpoint() as endpoint:
        engine = EngineParams(kind="openai", url=endpoint.url, model="own", weight_sync="vllm")
        trajectories = play_own(engine)
        assert endpoint.paths[:2] == ["/collective_rpc", "/reset_prefix_cache"]
        assert "chat_template_kwargs" not in endpoint.bodies[-1]
        play_own(engine, template_kwargs={"enable_thinking": False})
        assert endpoint.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}
        with pytest.raises(EngineError, match=r"engine\.weight_sync: null given"):
            play_own(engine.model_copy(update={"weight_sync": None}))
    assert all(trajectory.success for trajectory in trajectories)
    assert len(trajectories[0].policy_hash) == 64

"""What the `openai` engine makes of a server's answers: full contexts, refused prompts, empty, withheld and damaged answers."""

from __future__ import annotations

from typing import Any

import pytest

from agentevol.data.trajectory import content_digest
from agentevol.rollout.engine import EngineError
from tests.agentevol.endpoint import count, serve_endpoint
from tests.agentevol.rollout.hosted import INSTRUCTIONS, play

pytestmark = pytest.mark.usefixtures("counting", "short_retry_delay")


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


@pytest.mark.parametrize(("context", "max_new_tokens"), [(512, 512), (60, 40)])
def test_an_answer_may_have_the_tokens_that_the_servers_context_has_left(context: int, max_new_tokens: int) -> None:
    """A server adds `max_tokens` to the prompt, although an answer needs few of them."""
    with serve_endpoint(context=context) as endpoint:
        trajectories, usage = play(endpoint, settings={"max_new_tokens": max_new_tokens})
    assert all(trajectory.success for trajectory in trajectories)
    assert usage.repeated > 0
    assert {body["max_tokens"] for body in endpoint.bodies} == {max_new_tokens, max_new_tokens // 2}


def test_an_answer_that_the_servers_context_cuts_is_none() -> None:
    with serve_endpoint(context=60, answer=lambda messages: "so " * 40 + count(messages)) as endpoint:
        (trajectory,), _ = play(endpoint, 1, settings={"max_new_tokens": 100})
    assert [body["max_tokens"] for body in endpoint.bodies] == [100, 50, 25]
    assert (trajectory.status, trajectory.truncated_by, trajectory.rounds) == ("truncated", "context", 0)


def test_no_episode_is_longer_than_the_context_length() -> None:
    """The server's own context may be longer."""

    def answer(messages: list[dict[str, str]]) -> str:
        return "Thought: " + "so " * 40 + count(messages)

    with serve_endpoint(answer=answer) as endpoint:
        trajectories, _ = play(endpoint, settings={"context_length": 72})
    assert {(trajectory.success, trajectory.truncated_by) for trajectory in trajectories} == {(True, None), (False, "context")}
    assert max(trajectory.tokens for trajectory in trajectories) <= 72


def test_reasoning_is_no_part_of_the_conversation() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5000, "completion_tokens_details": {"reasoning_tokens": 4990}}
    with serve_endpoint(usage=usage) as endpoint:
        trajectories, used = play(endpoint)
    assert all(trajectory.success for trajectory in trajectories)
    assert {trajectory.tokens for trajectory in trajectories} == {21}
    assert used.tokens_out == 5000 * used.requests


def test_a_context_that_is_too_small_for_every_prompt_ends_the_rollout() -> None:
    with serve_endpoint(context=20) as endpoint, pytest.raises(EngineError, match=r"maximum context length.*; raise the") as caught:
        play(endpoint)
    assert min(body["max_tokens"] for body in endpoint.bodies) == 16
    assert "\n" not in str(caught.value)


def test_a_full_context_never_ends_a_rollout_that_had_answers() -> None:
    def refuse(messages: list[dict[str, str]]) -> tuple[int, str] | None:
        return None if INSTRUCTIONS[0].text in messages[0]["content"] else (400, "prompt is too long: 210001 tokens > 200000 maximum")

    with serve_endpoint(refuse=refuse) as endpoint:
        trajectories, _ = play(endpoint, settings={"concurrency": 1})
    assert [trajectory.status for trajectory in trajectories] == ["finished"] + ["truncated"] * 8


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

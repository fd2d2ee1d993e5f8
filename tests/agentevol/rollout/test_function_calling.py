"""Episodes of policies that call functions: of a hosted model with `tool_calls`, and of small models with text in its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentevol.chat.load import load_chat_tokenizer
from agentevol.data.action_format import format_of
from agentevol.data.function_calling import CALL_FORM, INSTRUCTION, format_call
from agentevol.gate.replay import replay
from agentevol.rollout.engines.openai_tools import answer_text, chat_messages
from agentevol.rollout.rollout import roll_out
from agentevol.settings.rollout import RolloutParams
from tests.agentevol.counting import Counting
from tests.agentevol.endpoint import serve_endpoint
from tests.agentevol.rollout.hosted import INSTRUCTIONS, play
from tests.small_models import create_small_model

pytestmark = pytest.mark.usefixtures("counting", "short_retry_delay")


def next_number(messages: list[dict[str, Any]]) -> int:
    return int(re.findall(r"(?:from|at) (\d+)", " ".join(message["content"] for message in messages))[-1]) + 1


def call(messages: list[dict[str, Any]]) -> dict[str, Any]:
    function = {"name": "act", "arguments": json.dumps({"action": next_number(messages)})}
    return {"content": "Thought: next.", "tool_calls": [{"id": "abc", "type": "function", "function": function}]}


def test_a_hosted_model_calls_functions_and_reads_their_results() -> None:
    with serve_endpoint(answer=call) as endpoint:
        trajectories, _ = play(endpoint, 4, action_format="function_calling")
    assert all(trajectory.success for trajectory in trajectories)
    assert all(replay(trajectory) is None for trajectory in trajectories)
    assert endpoint.bodies[0]["tools"][0]["function"]["parameters"]["required"] == ["action"]
    longest = max((body["messages"] for body in endpoint.bodies), key=len)
    assert [message["role"] for message in longest] == ["user", "assistant", "tool"]
    assert longest[0]["content"].endswith(f"{INSTRUCTION}\n\n{INSTRUCTIONS[0].text}") or INSTRUCTION in longest[0]["content"]
    assert longest[1]["tool_calls"][0]["id"] == longest[2]["tool_call_id"]
    assert longest[1]["content"] == "Thought: next."
    assert json.loads(longest[1]["tool_calls"][0]["function"]["arguments"]).keys() == {"action"}


def test_calls_as_text_are_read_by_the_same_parser() -> None:
    with serve_endpoint(answer=lambda messages: format_call("next", "act", {"action": str(next_number(messages))})) as endpoint:
        trajectories, _ = play(endpoint, 2, action_format="function_calling")
    assert all(trajectory.success for trajectory in trajectories)


@pytest.mark.parametrize(
    ("answer", "explanation"),
    [
        (
            {"content": None, "tool_calls": [{"function": {"name": "jump", "arguments": "{}"}}]},
            "There is no function 'jump'; ",
        ),
        ({"tool_calls": [{"function": {"name": "act", "arguments": "{action"}}]}, "The arguments of act are no valid JSON."),
        ({"tool_calls": [{"function": {"name": "act", "arguments": "{}"}}]}, "act needs action."),
        ({"content": "I do not know."}, "Your answer has no function call."),
        (
            {"tool_calls": [{"function": {"name": "act", "arguments": f'{{"action": "{n}"}}'}} for n in (1, 2)]},
            "Your answer has 2 different calls",
        ),
    ],
)
def test_a_wrong_call_costs_a_round_and_is_explained(answer: dict[str, Any], explanation: str) -> None:
    with serve_endpoint(answer=lambda messages: answer) as endpoint:
        trajectories, _ = play(endpoint, 1, {"max_repeats": None}, action_format="function_calling")
    (trajectory,) = trajectories
    assert (trajectory.status, trajectory.rounds, trajectory.reward) == ("truncated", Counting.max_rounds, 0.0)
    assert trajectory.messages[2].content.startswith(explanation)
    assert trajectory.messages[2].content.endswith(CALL_FORM)


def test_without_function_calling_a_request_has_no_tools() -> None:
    with serve_endpoint() as endpoint:
        play(endpoint, 1)
    assert "tools" not in endpoint.bodies[0]
    assert {message["role"] for body in endpoint.bodies for message in body["messages"]} == {"user", "assistant"}


def test_a_reply_of_another_kind_is_no_answer() -> None:
    assert answer_text({"content": ["x"]}) is None
    assert answer_text({"tool_calls": "x"}) is None
    assert answer_text({"tool_calls": [{"function": None}]}) is None
    assert answer_text({"content": " x "}) == "x"
    assert chat_messages([], None) == []


@pytest.mark.parametrize("family", ["qwen", "llama"])
def test_small_models_play_with_the_tokens_that_training_reads(family: str, tmp_path: Path) -> None:
    """Whatever a model with random weights writes, its prompt is that of the expert's converted episode."""
    folder = create_small_model(tmp_path / "model", family)
    chat = load_chat_tokenizer(folder)
    settings = RolloutParams(concurrency=2, num_workers=1, max_new_tokens=8, context_length=1000, max_repeats=None)
    (trajectory,) = roll_out(folder, INSTRUCTIONS[:1], settings=settings, action_format="function_calling")
    assert format_of(trajectory.messages) == "function_calling"
    assert trajectory.status == "truncated"
    assert trajectory.token_ids is not None
    text = chat.tokenizer.decode(trajectory.token_ids)
    assert '{"name": "act"' in text
    assert chat.tokenize_trajectory(trajectory).token_ids == trajectory.token_ids
    prompt = chat.tokenize_prompt(trajectory.messages[0].content, [function.schema() for function in Counting.functions])
    assert trajectory.token_ids[: len(prompt)] == prompt

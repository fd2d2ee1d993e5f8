"""Openings of episodes: what preflight refuses is what a rollout could not begin, in every format, for recorded and for played openings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from agentevol.chat.load import load_chat_tokenizer
from agentevol.data.action_format import convert
from agentevol.data.experts import play_expert
from agentevol.preflight.check import Check
from agentevol.preflight.openings import Openings, OpeningUnknown, check_openings, played_opening, recorded_openings
from agentevol.rollout.rollout import MIN_ANSWER_TOKENS, roll_out
from agentevol.settings.agent import ActionFormat
from tests.agentevol.counting import Counting, play_counting, rollout_params

FORMATS = get_args(ActionFormat)
TRAIN = Counting.instructions("train")


def checks(openings: dict[str, Openings], context: int, action_format: ActionFormat = "react", limit: int | None = None) -> list[Check]:
    return check_openings(openings, context_length=context, max_new_tokens=32, model_limit=limit, action_format=action_format)


@pytest.mark.parametrize("action_format", FORMATS)
def test_an_opening_is_refused_exactly_where_no_episode_can_begin(
    action_format: ActionFormat, small_models: dict[str, Path], counting: str
) -> None:
    chat = load_chat_tokenizer(small_models["qwen"])
    opening = played_opening(chat, TRAIN[0], action_format, server=None, step_timeout=None)
    for context, fits in ((opening.longest + MIN_ANSWER_TOKENS, True), (opening.longest + MIN_ANSWER_TOKENS - 1, False)):
        (check,) = checks({"counting": opening}, context, action_format)
        assert check.status == ("question" if fits else "error"), "it fits, but a full answer does not"
        settings = rollout_params(context_length=context)
        (played,) = roll_out(small_models["qwen"], TRAIN[:1], settings=settings, action_format=action_format)
        assert ("the opening of" in str(played.error)) == (not fits)


@pytest.mark.parametrize("action_format", FORMATS)
def test_recorded_openings_are_those_that_are_played(action_format: ActionFormat, small_models: dict[str, Path], counting: str) -> None:
    chat = load_chat_tokenizer(small_models["qwen"])
    recorded = [convert(play_expert("counting", item), action_format) for item in TRAIN]
    played = [played_opening(chat, item, action_format, server=None, step_timeout=None).longest for item in TRAIN]
    found = recorded_openings(chat, recorded, action_format)["counting"]
    assert (found.shortest, found.longest) == (min(played), max(played))


def test_conversations_of_another_prompt_and_text_only_rows_are_no_openings(small_models: dict[str, Path], counting: str) -> None:
    chat = load_chat_tokenizer(small_models["qwen"])
    rows = [play_counting(5, ["6"], env="text"), play_counting(5, ["6"])]
    rows[1].messages[0].content = "Something else."
    assert recorded_openings(chat, rows, "react") == {}
    assert recorded_openings(chat, [play_counting(5, ["6"])], "function_calling") == {}


@pytest.mark.parametrize(
    ("action_format", "context", "model_limit", "line"),
    [
        (
            "react",
            100,
            4096,
            "opening of counting: prompt and first observation have 150 to 190 tokens and do not fit the context of 100 (counting_7);"
            " raise rollout.context_length or leave the environment out",
        ),
        (
            "function_calling",
            1280,
            128,
            "opening of counting: prompt, functions (function_calling) and first observation have 150 to 190 tokens and do not fit the"
            " context of 128 (counting_7); the model itself reads no more (rollout.context_length is 1280): take another model, leave the"
            " environment out, or set agent.format to react",
        ),
    ],
)
def test_the_message_says_what_does_not_fit_and_what_to_do(action_format: ActionFormat, context: int, model_limit: int, line: str) -> None:
    openings = {"counting": Openings(150, 190, "counting_7"), "maze": Openings(50, 60, "maze_1")}
    (check,) = checks(openings, context, action_format, model_limit)
    assert (check.status, check.line()) == ("error", line)


def test_openings_that_fit_in_part_or_leave_no_room_for_an_answer_are_a_question() -> None:
    openings = {"counting": Openings(150, 190, "counting_7")}
    assert checks(openings, 190 + 32) == []
    for context, detail in ((180, "do not always fit the context of 180"), (200, "leave 10 tokens for the first answer")):
        (check,) = checks(openings, context)
        assert check.status == "question"
        assert f"have 150 to 190 tokens and {detail}" in check.detail


def test_an_environment_that_cannot_be_reset_is_told(small_models: dict[str, Path], counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "begin", lambda self, item_id: 1 / 0)
    with pytest.raises(OpeningUnknown, match=f"{TRAIN[0].item_id}: environment: ZeroDivisionError"):
        played_opening(load_chat_tokenizer(small_models["qwen"]), TRAIN[0], "react", server=None, step_timeout=None)

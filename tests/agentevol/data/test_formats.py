"""Trajectories are unchanged by both foreign formats; foreign rows become trajectories or are refused with an error that names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentevol.data.formats import FormatError, RowFormat, from_agentgym, from_messages, read_rows, to_agentgym, to_messages, write_rows
from agentevol.data.trajectory import Message, Trajectory
from tests.agentevol.counting import play_counting

OURS = [
    play_counting(5, ["6", "7"], tokens=3, token_ids=[1, 2, 3], loss_mask=[False, True, True], seconds=0.5),
    play_counting(6, ["x"], status="error", error="gone", sample=2),
    play_counting(7, ["8"], progress=0.5),
]
# A row of the AgentTraj-L files: the prompt, an acknowledgement that is not trained on, then the episode.
THEIRS = {
    "conversations": [
        {"from": "human", "loss": None, "value": "You are in a maze."},
        {"from": "gpt", "loss": False, "value": "Ok."},
        {"from": "human", "loss": None, "value": "The goal is at …"},
        {"from": "gpt", "loss": True, "value": "Thought:\nx\n\nAction:\nmove up"},
    ],
    "item_id": "lmrlgym_maze_3",
}


@pytest.mark.parametrize("row_format", ["agentgym", "messages"])
def test_trajectories_are_read_back_equal_from_a_file(tmp_path: Path, row_format: RowFormat) -> None:
    write_rows(tmp_path / "rows", OURS, row_format)
    assert read_rows(tmp_path / "rows", row_format) == OURS


def test_rows_have_the_keys_that_agentgym_reads() -> None:
    row = json.loads(json.dumps(to_agentgym(OURS[0])))
    assert row["item_id"] == "counting_5"
    assert row["conversations"][1] == {"from": "gpt", "loss": True, "value": "Thought: so\nAction: 6"}
    assert [turn["loss"] for turn in row["conversations"]] == [None, True, None, True, None]


def test_messages_have_roles_and_contents_only() -> None:
    row = to_messages(OURS[0])
    assert row["messages"][1] == {"role": "assistant", "content": "Thought: so\nAction: 6"}
    assert row["loss"] == [None, True, None, True, None]


def test_a_row_of_agentgym_becomes_a_trajectory_and_keeps_its_conversation() -> None:
    trajectory = from_agentgym(THEIRS, reward=1.0)
    assert (trajectory.env, trajectory.item_id, trajectory.success, trajectory.rounds) == ("maze", "lmrlgym_maze_3", True, 1)
    assert trajectory.messages[1] == Message("assistant", "Ok.", False)
    assert to_agentgym(trajectory)["conversations"] == THEIRS["conversations"]


def test_a_row_without_a_reward_is_refused() -> None:
    with pytest.raises(FormatError, match=r"lmrlgym_maze_3: the row has no reward; pass reward="):
        from_agentgym(THEIRS)


def test_every_answer_of_a_foreign_row_of_messages_is_trained_on() -> None:
    row = {"item_id": "maze_1", "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "up"}], "reward": 0.0}
    trajectory = from_messages(row)
    assert trajectory.messages == [Message("user", "go"), Message("assistant", "up", True)]
    assert (trajectory.success, trajectory.env) == (False, "maze")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": [{"role": "system", "content": "x"}]}, "maze_1: 'role' must be user or assistant, got 'system'"),
        ({"messages": [{"role": "user", "content": None}]}, "maze_1: 'content' must be text"),
        ({"messages": "x"}, "maze_1: 'messages' must be a list"),
        ({"loss": [True]}, "one entry for each of the 2 messages"),
        ({"item_id": 3}, "'item_id' must be text, got 3"),
    ],
)
def test_a_row_of_another_format_is_refused_and_named(change: dict[str, object], message: str) -> None:
    row: dict[str, object] = {
        "item_id": "maze_1",
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "reward": 1,
    }
    with pytest.raises(FormatError, match=message.replace("(", r"\(")):
        from_messages(row | change)


@pytest.mark.parametrize(("row_format", "text"), [("agentgym", "{}"), ("agentgym", "["), ("messages", "nonsense")])
def test_a_file_of_another_format_is_named(tmp_path: Path, row_format: RowFormat, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"rows\.json"):
        read_rows(path, row_format)


def test_line_separators_inside_a_text_do_not_break_a_line(tmp_path: Path) -> None:
    odd = play_counting(5, ["6"], messages=[Message("user", "a\u2028b\x85c\nd"), Message("assistant", "é", True)])
    write_rows(tmp_path / "rows", [odd], "messages")
    rows: list[Trajectory] = read_rows(tmp_path / "rows", "messages")
    assert rows == [odd]

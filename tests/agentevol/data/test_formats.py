"""Trajectories survive both foreign forms, and foreign rows become trajectories or are refused with their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentevol.data.formats import Form, FormatError, from_agentgym, from_messages, read_rows, to_agentgym, to_messages, write_rows
from agentevol.data.trajectory import Message, Trajectory
from tests.agentevol.counting import play_counting

OURS = [
    play_counting(5, ["6", "7"], tokens=3, token_ids=[1, 2, 3], loss_mask=[False, True, True], seconds=0.5),
    play_counting(6, ["x"], status="error", error="gone", sample=2),
]
# A row as the AgentTraj-L files have them: the prompt, an acknowledgement that is not learnt from, then the episode.
THEIRS = {
    "conversations": [
        {"from": "human", "loss": None, "value": "You are in a maze."},
        {"from": "gpt", "loss": False, "value": "Ok."},
        {"from": "human", "loss": None, "value": "The goal is at …"},
        {"from": "gpt", "loss": True, "value": "Thought:\nx\n\nAction:\nmove up"},
    ],
    "item_id": "lmrlgym_maze_3",
}


@pytest.mark.parametrize("form", ["agentgym", "messages"])
def test_trajectories_come_back_equal_through_a_file(tmp_path: Path, form: Form) -> None:
    write_rows(tmp_path / "rows", OURS, form)
    assert read_rows(tmp_path / "rows", form) == OURS


def test_agentgyms_reader_finds_what_it_reads() -> None:
    row = json.loads(json.dumps(to_agentgym(OURS[0])))
    assert row["item_id"] == "counting_5"
    assert row["conversations"][1] == {"from": "gpt", "loss": True, "value": "Thought: so\nAction: 6"}
    assert [turn["loss"] for turn in row["conversations"]] == [None, True, None, True, None]


def test_a_trainer_finds_roles_and_contents_alone() -> None:
    row = to_messages(OURS[0])
    assert row["messages"][1] == {"role": "assistant", "content": "Thought: so\nAction: 6"}
    assert row["loss"] == [None, True, None, True, None]


def test_a_row_of_agentgym_becomes_a_trajectory_and_keeps_its_conversation() -> None:
    trajectory = from_agentgym(THEIRS, reward=1.0)
    assert (trajectory.env, trajectory.item_id, trajectory.success, trajectory.rounds) == ("maze", "lmrlgym_maze_3", True, 1)
    assert trajectory.messages[1] == Message("assistant", "Ok.", False)
    assert to_agentgym(trajectory)["conversations"] == THEIRS["conversations"]


def test_a_row_without_a_reward_is_not_given_one_silently() -> None:
    with pytest.raises(FormatError, match=r"lmrlgym_maze_3: the row has no reward; give reward="):
        from_agentgym(THEIRS)


def test_a_foreign_row_of_messages_learns_from_every_answer() -> None:
    row = {"item_id": "maze_1", "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "up"}], "reward": 0.0}
    trajectory = from_messages(row)
    assert trajectory.messages == [Message("user", "go"), Message("assistant", "up", True)]
    assert (trajectory.success, trajectory.env) == (False, "maze")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": [{"role": "system", "content": "x"}]}, "maze_1: 'role' is 'system'"),
        ({"messages": [{"role": "user", "content": None}]}, "maze_1: 'content' has to be text"),
        ({"messages": "x"}, "maze_1: 'messages' has to be a list"),
        ({"loss": [True]}, "one entry for each of the 2 messages"),
        ({"item_id": 3}, "'item_id' has to be text, 3 is there"),
    ],
)
def test_a_row_that_is_not_of_the_form_is_refused_by_name(change: dict[str, object], words: str) -> None:
    row: dict[str, object] = {
        "item_id": "maze_1",
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "reward": 1,
    }
    with pytest.raises(FormatError, match=words.replace("(", r"\(")):
        from_messages(row | change)


@pytest.mark.parametrize(("form", "text"), [("agentgym", "{}"), ("agentgym", "["), ("messages", "nonsense")])
def test_a_file_that_is_not_of_the_form_is_named(tmp_path: Path, form: Form, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"rows\.json"):
        read_rows(path, form)


def test_line_separators_inside_a_text_do_not_break_a_line(tmp_path: Path) -> None:
    odd = play_counting(5, ["6"], messages=[Message("user", "a\u2028b\x85c\nd"), Message("assistant", "é", True)])
    write_rows(tmp_path / "rows", [odd], "messages")
    rows: list[Trajectory] = read_rows(tmp_path / "rows", "messages")
    assert rows == [odd]

"""Rows of other projects become trajectories and rows again; what cannot be read is named with its row, its field and what is allowed."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.formats import FormatError
from agentevol.data.parquet import to_table
from agentevol.data.trajectory import TEXT_ONLY, Trajectory
from agentevol.exchange import importing
from agentevol.exchange.format_names import FormatName
from agentevol.exchange.formats import FORMATS, write_row
from agentevol.exchange.importing import ImportReport, import_rows
from agentevol.exchange.rows import SUFFIXES, Row, write_rows
from agentevol.exchange.tool_text import ToolCall, from_text
from tests.agentevol.counting import play_counting

pytestmark = pytest.mark.usefixtures("counting")
OURS = [
    play_counting(5, ["6", "7"], tokens=3, token_ids=[1, 2, 3], loss_mask=[False, True, True], seconds=0.5),
    play_counting(4, ["9", "5"], sample=2),
]
AGENTINSTRUCT = {
    "conversations": [
        {"from": "human", "loss": None, "value": "You are an assistant on a computer."},
        {"from": "gpt", "loss": False, "value": "Ok."},
        {"from": "human", "loss": None, "value": "How many files are there?"},
        {"from": "gpt", "loss": True, "value": "Think: I list them.\n\nAct: bash\n\n```bash\nls | wc -l\n```"},
    ],
    "id": "os_3",
}
TOOLS = [{"type": "function", "function": {"name": "light", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}}}]
TOOLCALLS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Light on, door shut."},
        {
            "role": "assistant",
            "content": "Both at once.",
            "tool_calls": [
                {"type": "function", "function": {"name": "light", "arguments": {"on": True, "level": None}}},
                {"type": "function", "function": {"name": "door", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "It is on.", "name": "light"},
        {"role": "tool", "content": '{"door": "shut"}', "name": "door"},
        {"role": "assistant", "content": "Done."},
    ],
    "tools": TOOLS,
}
FUNCTION_CALLING = {
    "id": 7,
    "query": "Weather in Rome?",
    "tools": json.dumps([{"name": "weather", "description": "…", "parameters": {"city": {"type": "str"}}}]),
    "answers": json.dumps([{"name": "weather", "arguments": {"city": "Rome"}}]),
}
UNIFIED = {
    "unique_trajectory_id": "toolace_12",
    "task_instruction": TOOLCALLS["messages"][0]["content"],  # type: ignore[index]
    "tools": TOOLS,
    "conversation": TOOLCALLS["messages"][1:],
}


def imported(folder: Path, name: FormatName, *rows: Any, file: str = "rows.jsonl", **options: Any) -> tuple[list[Trajectory], ImportReport]:
    path = folder / file
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = ImportReport()
    return list(import_rows(path, name, report, **options)), report


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", FORMATS)
def test_trajectories_are_read_back_equal_from_every_format(tmp_path: Path, name: FormatName, suffix: str) -> None:
    text, _ = imported(tmp_path, "toolcalls", TOOLCALLS | {"id": "a"})
    path, report = tmp_path / f"out{suffix}", ImportReport()
    assert write_rows(path, (write_row(trajectory, name) for trajectory in [*OURS, *text])) == 3
    assert list(import_rows(path, name, report)) == [*OURS, *text]
    assert (report.replayed, report.text_only.total()) == (2, 1)


@pytest.mark.parametrize("name", FORMATS)
def test_parquet_keeps_measures_that_the_first_row_does_not_have(tmp_path: Path, name: FormatName) -> None:
    rows = [replace(OURS[0], progress=None), replace(OURS[1], progress=0.5, predicted_success=0.25)]
    write_rows(tmp_path / "out.parquet", (write_row(trajectory, name) for trajectory in rows))
    assert list(import_rows(tmp_path / "out.parquet", name, ImportReport())) == rows


@pytest.mark.parametrize(("name", "row"), [("toolcalls", TOOLCALLS), ("agentgym", AGENTINSTRUCT | {"item_id": "a_1"})])
def test_a_row_that_failed_is_no_demonstration(tmp_path: Path, name: FormatName, row: dict[str, Any]) -> None:
    def reward(**fields: Any) -> tuple[float, bool]:
        (trajectory,), _ = imported(tmp_path, name, row | fields, reward=0.5)
        return trajectory.reward, trajectory.success

    assert reward()[0] == 0.5
    assert reward(success=False) == (0.0, False)
    assert reward(success=False, reward=0.25) == (0.25, False)
    assert reward(success=True, reward=None) == (0.5, True)  # as a table has it where a row says nothing


def test_agentinstruct_is_marked_as_text_only_and_keeps_its_conversation(tmp_path: Path) -> None:
    (trajectory,), report = imported(tmp_path, "agentinstruct", AGENTINSTRUCT)
    assert (trajectory.env, trajectory.item_id, trajectory.reward, trajectory.success) == (TEXT_ONLY, "agentinstruct/os_3", 1.0, True)
    assert [message.loss for message in trajectory.messages] == [None, False, None, True]
    assert report.text_only.total() == 1
    row = write_row(trajectory, "agentinstruct")
    assert {key: row[key] for key in AGENTINSTRUCT} == AGENTINSTRUCT


def test_an_id_of_another_project_is_never_taken_for_one_of_ours(tmp_path: Path) -> None:
    """AgentInstruct has ids such as alfworld_3, which name other problems than this project's."""
    (trajectory,), _ = imported(tmp_path, "agentinstruct", AGENTINSTRUCT | {"id": "counting_5"})
    assert (trajectory.env, trajectory.item_id) == (TEXT_ONLY, "agentinstruct/counting_5")


def test_rows_with_tool_calls_keep_calls_results_system_message_and_tools(tmp_path: Path) -> None:
    (trajectory,), _ = imported(tmp_path, "toolcalls", TOOLCALLS)
    roles = [message.role for message in trajectory.messages]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert '{"name": "door", "arguments": {}}' in trajectory.messages[1].content
    row = write_row(trajectory, "toolcalls")
    assert {key: row[key] for key in TOOLCALLS} == TOOLCALLS


def test_both_forms_of_xlam_are_read(tmp_path: Path) -> None:
    (single, unified), _ = imported(tmp_path, "xlam", FUNCTION_CALLING, UNIFIED)
    assert single.item_id == "xlam/7"
    assert single.messages[1].content == '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    row = write_row(unified, "xlam")
    assert {key: row[key] for key in UNIFIED} == UNIFIED
    assert from_text(single.messages).tools == json.loads(str(FUNCTION_CALLING["tools"]))
    trajectories, report = imported(tmp_path, "xlam", FUNCTION_CALLING | {"answers": "[]"})
    assert (trajectories, report.left_out) == ([], {"no answer to learn from": 1})


def test_openai_rows_have_arguments_as_text_and_results_in_any_order(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": str(i), "type": "function", "function": {"name": f"f{i}", "arguments": f'{{"x": {i}}}'}} for i in (1, 2)
                ],
            },
            {"role": "tool", "tool_call_id": "2", "content": "two"},
            {"role": "tool", "tool_call_id": "1", "content": "one"},
            {"role": "user", "content": "and?"},
            {"role": "assistant", "content": "three"},
        ]
    }
    (trajectory,), _ = imported(tmp_path, "toolcalls", row)
    assert trajectory.messages[2].content == "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>\nand?"
    messages = write_row(trajectory, "toolcalls")["messages"]
    assert [message.get("name") for message in messages] == [None, None, "f1", "f2", None, None]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "f1", "arguments": {"x": 1}}


def test_parquet_fills_absent_keys_with_null_which_are_no_arguments(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([TOOLCALLS]), tmp_path / "rows.parquet")
    (trajectory,) = import_rows(tmp_path / "rows.parquet", "toolcalls", ImportReport())
    assert [turn.calls for turn in from_text(trajectory.messages).turns][1] == (ToolCall("light", {"on": True}), ToolCall("door", {}))


def test_an_environment_keeps_only_what_it_reproduces(tmp_path: Path) -> None:
    good, edited = write_row(OURS[0], "messages"), write_row(OURS[0], "messages")
    edited["messages"][2]["content"] = "You are at 100."
    rows = [good, edited, good | {"item_id": "counting_99"}, good | {"env": "elsewhere"}]
    trajectories, report = imported(tmp_path, "messages", *rows)
    assert [trajectory.env for trajectory in trajectories] == ["counting", TEXT_ONLY, TEXT_ONLY, TEXT_ONLY]
    assert report.replayed == 1
    assert set(report.text_only) == {
        "counting does not reproduce the record",
        "counting has no such instruction",
        "there is no environment 'elsewhere' here",
    }
    assert "message 2: 'You are at 100.' is recorded" in report.difference
    assert trajectories[1].token_ids is None  # of a tokenizer that nobody knows


def test_rows_with_nothing_to_learn_or_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    silent = {"messages": [{"role": "user", "content": "?"}]}
    plain = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x" * 10}]}
    long = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x" * 99}]}
    trajectories, report = imported(
        tmp_path, "messages", silent, plain, long, max_tokens=50, token_count=lambda trajectory: len(trajectory.messages[1].content)
    )
    assert len(trajectories) == 1
    assert report.left_out == {"no answer to learn from": 1, "more than 50 tokens": 1}


def test_rows_with_one_id_are_samples_of_it(tmp_path: Path) -> None:
    trajectories, _ = imported(tmp_path, "agentinstruct", AGENTINSTRUCT, AGENTINSTRUCT)
    assert [trajectory.sample for trajectory in trajectories] == [0, 1]


USER, ANSWER = {"role": "user", "content": "?"}, {"role": "assistant", "content": "x"}
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("messages", 3, "row 1: int given; allowed: an object"),
        ("messages", {"messages": []}, "messages: [] given; allowed: a list of messages that is not empty"),
        ("messages", {"messages": [ANSWER]}, "message 1: an assistant message first"),
        ("messages", {"messages": [USER, ANSWER, ANSWER]}, "message 3: an assistant message after another one"),
        ("messages", {"messages": [USER, USER]}, "message 2: a user message after another one"),
        (
            "messages",
            {"messages": [{"role": "bot", "content": ""}]},
            "messages.0.role: 'bot' given; allowed: system, user, assistant, tool",
        ),
        ("messages", {"messages": [{"role": ["user"], "content": ""}]}, "messages.0.role: ['user'] given"),
        ("messages", {"messages": [USER, {"role": "assistant", "content": [{"type": "text"}]}]}, "messages.1.content: [{'type'"),
        ("messages", {"messages": [{"role": "system", "content": "x"}]}, "no message besides the system message"),
        (
            "messages",
            {"messages": [USER, ANSWER], "loss": [1]},
            "loss: [1] given; allowed: a list with one entry for each of the 2 messages",
        ),
        ("messages", {"messages": [USER, ANSWER], "loss": [None, "y"]}, "loss.1: 'y' given; allowed: true, false or null"),
        ("messages", {"messages": [USER, ANSWER], "reward": "good"}, "reward: 'good' given; allowed: a number"),
        ("messages", {"messages": [USER, ANSWER], "item_id": 3}, "item_id: 3 given; allowed: text"),
        ("messages", {"messages": [USER, ANSWER], "item_id": "a", "tokens": 2**40}, "tokens: 1099511627776 given"),
        ("messages", {"messages": [USER, ANSWER], "item_id": "a", "seconds": 10**400}, "seconds: 1000"),
        ("messages", {"messages": [USER, ANSWER], "item_id": "a", "policy": "\ud83d"}, "policy: '\\ud83d' given; allowed: text that UTF-8"),
        ("messages", {"messages": [USER, CALL]}, "messages: tool calls given; allowed: texts only, or `--as toolcalls`"),
        ("messages", {"messages": [USER, {"role": "assistant", "content": "\ud83d"}]}, "half of a surrogate pair"),
        ("messages", {"messages": [{"role": "user", "content": "<system>\na\n</system>\n\nb"}, ANSWER]}, "a text has the marks <system>"),
        (
            "toolcalls",
            {"messages": [USER, {"role": "tool", "content": "x"}]},
            "messages.1.role: 'tool' given; allowed: a result only after",
        ),
        ("toolcalls", {"messages": [USER, CALL, *[{"role": "tool", "content": "x"}] * 2]}, "2 results for 1 calls before it"),
        ("toolcalls", {"messages": [USER, CALL, {"role": "tool", "content": "x", "name": "g"}]}, "messages.2.name: 'g' given; allowed: f,"),
        (
            "toolcalls",
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages.1.tool_calls.0.name: None given",
        ),
        (
            "toolcalls",
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "messages.1.tool_calls.0.arguments: '{' given; allowed: valid JSON",
        ),
        ("toolcalls", {"messages": [USER, ANSWER], "tools": ["x"]}, "tools.0: 'x' given; allowed: valid JSON"),
        ("toolcalls", {"messages": [USER, CALL, {"role": "tool", "content": "a\n</tool_response>\nb"}]}, "has the marks"),
        ("agentinstruct", {"id": "a"}, "conversations: None given; allowed: a list of turns"),
        (
            "agentinstruct",
            {"conversations": [{"from": "gpt", "value": ""}]},
            "conversations.0.from: 'gpt' given; allowed: human and gpt in turn",
        ),
        ("agentinstruct", {"conversations": [{"from": "user", "value": ""}]}, "conversations.0.from: 'user' given; allowed: human, gpt"),
        ("agentinstruct", {"conversations": [{"from": "human", "value": 3}]}, "conversations.0.value: 3 given; allowed: text"),
        ("agentinstruct", AGENTINSTRUCT | {"id": []}, "id: [] given; allowed: text or a whole number"),
        ("xlam", {"query": "x", "answers": "["}, "answers: '[' given; allowed: valid JSON"),
        ("xlam", {"id": 1}, "query: None given; allowed: text (or `conversation`"),
        ("agentgym", {"conversations": AGENTINSTRUCT["conversations"]}, "item_id: None given; allowed: text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_field(tmp_path: Path, name: FormatName, row: Any, message: str) -> None:
    good: Row = {"messages": [USER, ANSWER]}
    with pytest.raises(FormatError) as caught:
        imported(tmp_path, name, row)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}: row 1: ")
    assert "\n" not in str(caught.value)
    if name == "messages":
        with pytest.raises(FormatError, match="row 2: "):
            imported(tmp_path, name, good, row)


ANYTHING = [None, True, -1, 3.5, float("nan"), "", "x", "[", "{}", "\ud800", [], {}, [None], {"a": 1}, 10**400, 2**70, ["user"], "tool"]


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(inner for key, entry in entries for inner in places(entry, (*place, key)))]


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = put(changed[place[0]], place[1:], new)
    return changed


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_a_row_holds_it_is_imported_or_refused_in_one_line(name: FormatName, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign: dict[FormatName, list[Row]] = {"agentinstruct": [AGENTINSTRUCT], "toolcalls": [TOOLCALLS], "xlam": [FUNCTION_CALLING, UNIFIED]}
    seeds = [write_row(OURS[0], name), *foreign.get(name, [])]
    errors: list[str] = []
    for seed in range(150):
        rng = random.Random(seed)
        row = rng.choice(seeds)
        for _ in range(rng.randrange(1, 3)):
            row = put(row, rng.choice(places(row)[1:] or [()]), rng.choice(ANYTHING))
        monkeypatch.setattr(importing, "stream_rows", lambda path, row=row: iter([row]))
        try:
            trajectories = list(import_rows(Path("rows"), name, ImportReport()))
        except FormatError as error:
            errors.append(str(error))
        else:
            assert to_table(trajectories).num_rows == len(trajectories)
    assert 30 < len(errors) < 150
    assert not any("\n" in error for error in errors)

"""The tool environments: parsing of calls, comparison of answers, and the effects of the tools."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest

from envs import make
from envs.base import InvalidAction
from envs.tools.answers import same_answer
from envs.tools.arguments import InvalidArguments, parse_arguments
from envs.tools.base import ToolEnv
from envs.tools.sheet import Sheet
from envs.tools.sheet_table import Table, similarity
from envs.tools.todo import Todo
from envs.tools.weather import Weather

TOOLS = {
    "weather": """get_user_current_date get_user_current_location get_latitude_longitude get_historical_temp get_historical_rain
        get_historical_snow get_temp_forecast get_rain_forecast get_snow_forecast get_current_temp get_current_rain get_current_snow
        get_elevation get_distance get_historical_air_quality_index get_current_air_quality_index get_air_quality_level""",
    "movie": """get_search_movie get_movie_details get_movie_production_companies get_movie_production_countries get_movie_cast
        get_movie_crew get_movie_keywords get_movie_alternative_titles get_movie_translation get_search_person get_person_details
        get_person_cast get_person_crew get_person_external_ids""",
    "academia": "loadPaperNet loadAuthorNet neighbourCheck paperNodeCheck authorNodeCheck authorEdgeCheck paperEdgeCheck",
    "todo": """get_user_current_date get_user_current_location get_projects update_project get_tasks get_task_description
        get_task_duration complete_task update_task delete_task""",
    "sheet": """open_sheet del_sheet freeze_data get_A1_annotation insert_cols insert_rows delete_batch_data update_cell
        update_cell_by_formula update_range sort_sheet_by_col merge_cells update_note get_all_values get_range_values get_cell_value
        get_value_by_formula filter_cells get_note""",
}


def start(name: str, number: int = 0) -> Any:
    env = make(name)
    env.reset(options={"item_id": f"{name}_{number}"})
    return env


def call_tool(env: ToolEnv, name: str, /, **arguments: Any) -> Any:
    observation = env.step(f"{name} with Action Input: {json.dumps(arguments)}")[0]
    try:
        return json.loads(observation)
    except ValueError:
        return observation


@pytest.mark.parametrize("name", TOOLS)
def test_the_tools_are_those_of_agentgym_and_the_prompt_lists_them(name: str) -> None:
    env = make(name)
    assert isinstance(env, ToolEnv)
    assert set(env.tools) == {*TOOLS[name].split(), "check_valid_actions", "finish"}
    assert all(f"\n{tool}(" in env.prompt for tool in env.tools)
    assert call_tool(start(name), "check_valid_actions") == list(env.tools)


@pytest.mark.parametrize("name", TOOLS)
def test_the_expert_solves_every_problem(name: str) -> None:
    env = make(name)
    for item in (*env.instructions("explore"), *env.instructions("eval")):
        observation, _ = env.reset(options={"item_id": item.item_id})
        expert = env.expert()
        while not env.done:
            observation, *_ = env.step(expert.act(observation)[1])
        assert env.succeeded(env.reward), item
        assert item.difficulty == f"{env.rounds - 1} calls" or name in ("todo", "sheet"), item


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("{'a': [1, None, True], 'b': (1, (2,))}", {"a": [1, None, True], "b": [1, [2]]}),
        (r'{"a": ["\ud83d"], "\udc38": "\ud83d\udc38"}', {"a": ["\ufffd"], "\ufffd": "\U0001f438"}),
        (r"{'a': '\ud83d\udc38 \ud83d'}", {"a": "\U0001f438 \ufffd"}),
        ("{}", {}),
        ("`{'a': 1}`", {"a": 1}),
    ],
)
def test_arguments_are_json_or_python_literals(text: str, arguments: dict[str, Any]) -> None:
    assert parse_arguments(text) == arguments


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'a': __import__('os')}",
        "{'a': 1 + 1}",
        "[1]",
        "{1: 2}",
        "{'a': {1, 2}}",
        "{'a': b'x'}",
        "{" * 5000,
        "[" * 100 + "]" * 100,
        '{"a": 1e999}',
        '{"a": ' + "9" * 3999 + "}",
        "x" * 100_000,
        "",
    ],
)
def test_anything_else_is_rejected_and_never_evaluated(text: str) -> None:
    with pytest.raises(InvalidArguments):
        parse_arguments(text)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("get_latitude_longitude with Action Input: {}", "get_latitude_longitude needs name"),
        ('get_elevation with Action Input: {"latitude": 1, "longitude": 2, "height": 3}', "has no argument"),
        ('get_elevation with Action Input: {"latitude": "north", "longitude": 2}', "latitude must be a number"),
        ("get_everything with Action Input: {}", "There is no tool of that name"),
        ("I finish here", "This is no call"),
        ('get_latitude_longitude with Action Input: {"name": "Atlantis"}', "There is no city of that name"),
        ('get_historical_temp with Action Input: {"latitude": 0, "longitude": 0, "start_date": "x", "end_date": "y"}', "Nothing is known"),
    ],
)
def test_an_invalid_call_is_explained_and_costs_a_round(action: str, expected: str) -> None:
    env = start("weather")
    observation, reward, terminated, *_ = env.step(action)
    assert expected in observation
    assert (reward, terminated, env.rounds) == (0.0, False, 1)


_FAR = {"latitude1": "1e308", "longitude1": "1e308", "latitude2": "-1e308", "longitude2": "-1e308"}


@pytest.mark.parametrize(
    ("name", "tool", "arguments", "expected"),
    [
        ("movie", "get_movie_details", {"movie_id": "9" * 20}, "movie_id must be a number of at most 15 digits"),
        ("movie", "get_person_cast", {"person_id": "-1e30"}, "person_id must be a number of at most 15 digits"),
        ("movie", "get_search_movie", {"movie_name": "\ud83d"}, "There is no film of that name."),
        ("movie", "get_search_person", {"person_name": "\ud83d"}, "There is nobody of that name."),
        ("weather", "get_distance", _FAR, "latitude1 must be a number of at most 15 digits"),
    ],
)
def test_arguments_that_a_tool_cannot_use_are_explained(name: str, tool: str, arguments: dict[str, Any], expected: str) -> None:
    assert expected in call_tool(start(name), tool, **arguments)


def test_a_formula_without_a_finite_result_is_explained() -> None:
    env = start("sheet")
    call_tool(env, "open_sheet", name=env._target_name)
    call_tool(env, "update_range", start_position="A1", end_position="Z1", values_list=[[1e14] * 25 + [0]])
    for end in ("Y1", "Z1"):  # infinity, and infinity times 0
        result = call_tool(env, "get_value_by_formula", operator="PRODUCT", start_position="A1", end_position=end)
        assert result == "The result is too large."


def test_a_python_tuple_is_the_list_it_stands_for() -> None:
    env = start("movie", next(i for i, problem in enumerate(make("movie").problems()) if "countries" in problem.text))
    assert len(env.gold_answer) > 1
    assert env.step(f"finish with Action Input: {{'answer': {tuple(env.gold_answer)!r}}}")[1] == 1.0


def test_only_a_call_of_finish_ends_the_episode() -> None:
    env = start("weather")
    assert not env.step("check_valid_actions with Action Input: {}")[2]
    assert not env.step("the finish line is near")[2]
    assert env.step('finish with Action Input: {"answer": "wrong"}')[1:3] == (0.0, True)


def test_a_tool_result_that_contains_the_answer_is_worth_nothing() -> None:
    env = start("movie", next(i for i, problem in enumerate(make("movie").problems()) if problem.text.startswith("How many minutes")))
    for _, action in env.solution:
        assert env.step(action)[1] == 0.0
    assert env.step("finish with Action Input: {}")[1] == 0.0


@pytest.mark.parametrize(
    ("answer", "gold_answer", "same"),
    [
        (12.504, 12.5, True),
        ("12.5", 12.5, True),
        ("12.5 mm", 12.5, False),
        (100_050, 100_000, True),
        (101, 100, False),
        ("  NORLAND. ", "Norland", True),
        (["b", "A"], ["a", "B"], True),
        (["a"], ["a", "b"], False),
        ("a", ["a"], True),
        (["a"], "a", True),
        (None, [], False),
        ([], [], True),
        ("nan", 1, False),
    ],
)
def test_comparison_of_answers(answer: Any, gold_answer: Any, same: bool) -> None:
    assert same_answer(answer, gold_answer) is same


def test_weather_has_a_date_and_rejects_history_of_the_future() -> None:
    env = start("weather")
    today = call_tool(env, "get_user_current_date")
    in_three_days = (date.fromisoformat(today) + timedelta(days=3)).isoformat()
    place = {key: value for key, value in call_tool(env, "get_latitude_longitude", name="torford").items() if key != "name"}
    assert "future" in call_tool(env, "get_historical_temp", **place, start_date=today, end_date=in_three_days)
    assert "A forecast covers" in call_tool(env, "get_rain_forecast", **place, start_date=today, end_date=today)
    assert isinstance(call_tool(env, "get_current_temp", **place, current_date=today), float)
    assert "At most 31 days" in call_tool(env, "get_historical_rain", **place, start_date="2022-01-01", end_date="2022-03-01")
    assert Weather.max_rounds == 10


def test_academia_requires_that_a_graph_is_loaded() -> None:
    env = start("academia")
    assert call_tool(env, "neighbourCheck", graph="PaperNet", node="x") == "PaperNet is not loaded; call loadPaperNet first."
    call_tool(env, "loadPaperNet")
    assert call_tool(env, "neighbourCheck", graph="PaperNet", node="x") == "There is no such node in PaperNet."


def test_a_todo_change_is_judged_by_the_state_and_a_question_must_change_nothing() -> None:
    problems = Todo.problems()
    change_number = next(i for i, problem in enumerate(problems) if problem.text.startswith("Complete"))
    env = start("todo", change_number)
    assert env.step('finish with Action Input: {"answer": "done"}')[1] == 0.0
    question_number = next(i for i, problem in enumerate(problems) if problem.text.startswith("How many tasks"))
    env = start("todo", question_number)
    project = call_tool(env, "get_projects")[0]
    call_tool(env, "update_project", project_id=project["id"], is_favorite=not project["is_favorite"])
    assert env.step(f"finish with Action Input: {json.dumps({'answer': env.gold_answer})}")[1] == 0.0


@pytest.mark.parametrize(
    ("answer", "reward"), [("cycle to the mill", 1.0), ("Swim ten lengths", 1.0), (["swim ten lengths"], 1.0), ("swim", 0.0)]
)
def test_each_of_two_todo_tasks_that_are_due_last_is_right(answer: object, reward: float) -> None:
    env = start("todo", 37)
    assert env.step(f"finish with Action Input: {json.dumps({'answer': answer})}")[1] == reward


def test_todo_episodes_share_nothing() -> None:
    first, second = start("todo", 0), start("todo", 0)
    project = call_tool(first, "get_projects")[0]
    call_tool(first, "update_project", project_id=project["id"], is_favorite=not project["is_favorite"])
    assert call_tool(second, "get_projects")[0] == project


def test_an_unchanged_sheet_is_worth_nothing_and_a_partial_change_something() -> None:
    number = next(i for i, problem in enumerate(Sheet.problems()) if "Value" in problem.text)
    assert start("sheet", number).step("finish with Action Input: {}")[1] == 0.0
    env = start("sheet", number)
    call_tool(env, "open_sheet", name=env._target_name)
    call_tool(env, "update_cell", position="E1", value="Value")
    _, reward, terminated, _, info = env.step("finish with Action Input: {}")
    assert 0 < reward < 1
    assert (terminated, info["success"]) == (True, False)


def test_similarity_counts_the_cells_outside_the_overlap() -> None:
    first, second = Table([["a", 1], ["b", 2]]), Table([["a", 1], ["b", 2], ["c", 3], ["d", 4]])
    assert similarity(first, first) == 1.0
    assert similarity(first, second) == 0.5


def test_the_tools_of_sheet() -> None:
    env = start("sheet")
    assert "No sheet is open" in call_tool(env, "get_all_values")
    call_tool(env, "open_sheet", name=env._target_name)
    call_tool(env, "update_range", start_position="A1", end_position="B2", values_list=[["x", "3"], ["y", 1.5]])
    assert call_tool(env, "get_range_values", start_position="A1", end_position="B2") == [["x", 3], ["y", 1.5]]
    assert call_tool(env, "get_value_by_formula", operator="SUM", start_position="B1", end_position="B2") == 4.5
    assert call_tool(env, "get_value_by_formula", operator="product", position_list=["B1", "B2"]) == 4.5
    assert "operators are" in call_tool(env, "get_value_by_formula", operator="__import__", start_position="B1", end_position="B2")
    assert call_tool(env, "get_A1_annotation", row=3, col=28) == "AB3"
    assert call_tool(env, "filter_cells", query="x") == ["A1"]
    call_tool(env, "update_note", position="A1", content="look")
    assert call_tool(env, "get_note", position="a1") == "look"
    assert "A position looks like" in call_tool(env, "get_cell_value", position="1A")
    call_tool(env, "insert_cols", values_list=[["c1", "c2"]], col_idx=1)
    assert call_tool(env, "get_cell_value", position="A2") == "c2"


@pytest.mark.parametrize("text", ["Thought: x", "Action: \n", "Action: a\nAction: b"])
def test_more_or_less_than_one_action_is_rejected(text: str) -> None:
    with pytest.raises(InvalidAction):
        Weather.parse_action(text)


def test_a_call_over_several_lines_is_parsed() -> None:
    text = 'Thought: x\n\nAction: get_latitude_longitude with Action Input: {\n  "name": "Torford"\n}'
    assert Weather.parse_action(text) == 'get_latitude_longitude with Action Input: { "name": "Torford" }'

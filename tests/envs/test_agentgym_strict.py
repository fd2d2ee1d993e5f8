"""Our client on servers that are as strict as AgentGym's: what it sends, what is an error, and which problems are ours."""

from __future__ import annotations

from typing import Any

import pytest

from envs import UnknownItem, environment_class, make
from envs.protocols.agentgym import MAZE_STARTS, item_id_of
from envs.protocols.agentgym_actions import Misunderstood, parse_answer, to_agentgym
from envs.registry import is_registered
from envs.remote.client import ServerFailed, SessionLost
from envs.server_comparison import compare, summary
from tests.envs import agentgym_replica as replica


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ('get_tasks with Action Input: {"project_id": "7"}', """Action: get_tasks with Action Input: {"project_id": "7"}"""),
        ('update_project with Action Input: {"is_favorite": true}', "Action: update_project with Action Input: {'is_favorite': True}"),
        ('finish with Action Input: {"answer": null}', "Action: finish with Action Input: {'answer': None}"),
        ('finish with\nAction Input: {"answer":\n [1, 2]}', 'Action: finish with Action Input: {"answer": [1, 2]}'),
        ("`get_projects`", "Action: get_projects with Action Input: {}"),
    ],
)
def test_a_tool_call_is_sent_after_action_in_one_line_with_python_values(action: str, text: str) -> None:
    assert to_agentgym("weather", action).text == text
    assert parse_answer("weather", f"Thought: I call it.\n\n{text}").startswith(action.strip("`").split()[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("get_projects with Action Input: {}", "ERROR \\| TypeError"),
        ("Thought: hm\nAction: get_projects", "Format error"),
        ('Action: finish with Action Input: {"answer":\n 3}', "Format error"),
        ("Action: finish with Action Input: {}\n\nSo be it.", "Format error"),
        ('Action: finish with Action Input: {"answer": true}', "not valid"),
        ("Action: finish with Action Input: __import__('os')", "not valid"),
    ],
)
def test_what_agentgyms_tool_servers_cannot_parse_is_not_parsed_here(text: str, message: str) -> None:
    with pytest.raises(Misunderstood, match=message):
        parse_answer("todo", text)


def test_a_call_may_be_broken_before_its_input_and_is_parsed_in_linear_time() -> None:
    assert parse_answer("todo", "Action: get_projects\nwith Action Input:\n{}\n") == "get_projects with Action Input: {}"
    spaces = " " * 50_000
    for text in (f"Action: x{spaces}", f"Action:{spaces}with{spaces}Action Input:{spaces}\n{spaces}x", "Action Input:" * 5_000):
        with pytest.raises(Misunderstood):
            parse_answer("todo", text)


def test_webarenas_answer_needs_fences_and_its_first_block_counts() -> None:
    with pytest.raises(Misunderstood):
        parse_answer("webarena", "Thought: hm\nAction: click [12]")
    assert parse_answer("webarena", "I will ```click [12]``` or ```click [13]```") == "click [12]"
    assert to_agentgym("webarena", "click [12]").text == "```click [12]```"


def test_a_tool_episode_is_solved_and_its_reward_is_counted_once() -> None:
    server = replica.Weather()
    with replica.serve(server) as url:
        env = make("agentgym-weather", server=url)
        observation, _ = env.reset(options={"item_id": "agentgym-weather_17"})
        assert "problem 17" in observation
        env.answer("Thought: ...\nAction: get with Action Input: {'number': 7}")
        env.answer("I do not know.")
        _, reward, terminated, _, info = env.answer('Thought: ...\nAction: finish with Action Input: {"answer": 7}')
        assert (env.reward, terminated, info["success"], env.rounds) == (1.0, True, True, 3)
        assert reward == 0.0  # the server repeats its best reward at every step
        assert server.received[1] == "I do not know."
        env.close()


class Deaf(replica.Weather):
    def step(self, body: dict[str, Any]) -> Any:
        return super().step({"action": body["action"].removeprefix("Action: ")})


def test_a_server_that_does_not_understand_is_an_error_and_no_step() -> None:
    with replica.serve(Deaf()) as url:
        env = make("agentgym-weather", server=url)
        env.reset(options={"item_id": "agentgym-weather_17"})
        with pytest.raises(ServerFailed, match=r"did not understand the action 'Action: get with .*cannot unpack"):
            env.answer("Thought: ...\nAction: get with Action Input: {}")
        assert env.rounds == 0
        env.answer("no action")  # the policy's own mistake costs a round
        assert env.rounds == 1
        env.close()


def test_webarena_is_played_with_fences_and_shows_the_task() -> None:
    with replica.serve(replica.WebArena()) as url:
        env = make("agentgym-webarena", server=url)
        observation, _ = env.reset(options={"item_id": "agentgym-webarena_3"})
        assert "OBJECTIVE: Find product 3" in observation
        with pytest.raises(ServerFailed, match="did not understand"):
            env.answer("Thought: ...\nAction: click [12]")
        _, reward, terminated, *_ = env.answer("Thought: ...\nAction: stop [42]")
        assert (reward, terminated) == (1.0, True)
        env.close()


@pytest.mark.parametrize("server", [replica.ALFWorld(), replica.NewALFWorld()])
@pytest.mark.parametrize("action", ["move mug 1 to shelf 1", "put mug 1 in/on shelf 1"])
def test_alfworld_is_sent_the_wording_of_its_version(server: replica.ALFWorld, action: str) -> None:
    with replica.serve(server) as url:
        env = make("agentgym-alfworld", server=url)
        _, info = env.reset(options={"item_id": "agentgym-alfworld_2420"})
        assert info["available_actions"] == list(server.actions)
        _, reward, terminated, _, info = env.answer(f"Thought: ...\nAction: {action}")
        assert (reward, terminated, info["available_actions"]) == (1.0, True, ["look"])
        env.close()


@pytest.mark.parametrize(("rewards", "reward"), [((0.0, 0.4, 0.4, -0.2), 0.4), ((0.0, -0.2, -0.3), 0.0)])
def test_babyais_first_reward_ends_the_episode(rewards: tuple[float, ...], reward: float) -> None:
    with replica.serve(replica.BabyAI(rewards)) as url:
        env = make("agentgym-babyai", server=url)
        _, info = env.reset(options={"item_id": "agentgym-babyai_5"})
        assert info["available_actions"] == ["turn left", "pickup red ball 1"]
        observation, *_ = env.answer("Action: pick up red ball 1")
        assert observation.startswith("pickup red ball 1")
        *_, terminated, _, _ = env.answer("Action: turn left")
        assert (terminated, env.reward) == (True, reward)
        env.close()


def test_wordles_words_are_shown() -> None:
    with replica.serve(replica.Wordle()) as url:
        env = make("agentgym-wordle", server=url)
        assert env.reset(options={"item_id": "agentgym-wordle_5"})[0] == "Words: p a n i c, s o l a r"
        assert env.answer("Action: PANIC")[1] == 1.0
        env.close()


def test_mazes_numbers_are_agentgyms_starting_cells() -> None:
    assert MAZE_STARTS[10:13] == ((2, 3), (3, 3), (4, 3))  # the left stem first, not row by row
    maze = make("maze")
    for number, (row, column) in enumerate(MAZE_STARTS):
        observation, _ = maze.reset(options={"item_id": item_id_of("maze", number)})
        assert f"position is at position {row}, {column}." in observation
        assert "goal is at position 8, 6." in observation
    assert len(environment_class("agentgym-maze").instructions("eval")) == len(MAZE_STARTS) == 25


@pytest.mark.parametrize(("name", "goal"), [("textcraft", "craft 1 diamond boots"), ("textcraft-original", "craft diamond boots")])
def test_a_textcraft_goal_is_found_under_another_number(name: str, goal: str) -> None:
    server = replica.TextCraft()
    with replica.serve(server) as url:
        env = make(name, server=url)
        boots = next(item for split in ("eval", "explore") for item in environment_class(name).instructions(split) if item.text == goal)
        assert "craft diamond boots" in env.reset(options={"item_id": boots.item_id})[0]
        resets = server.resets
        env.reset(options={"item_id": boots.item_id})
        assert server.resets <= resets + 2  # what was read is kept
        other = next(item for item in environment_class(name).instructions("eval") if item != boots)
        with pytest.raises(ServerFailed, match=f"{other.item_id} is another problem .*as agentgym-textcraft"):
            env.reset(options={"item_id": other.item_id})
        env.close()


def test_another_problem_of_the_same_number_is_refused_by_name() -> None:
    with replica.serve(replica.Weather()) as url:
        env = make("weather", server=url)
        with pytest.raises(ServerFailed, match=r"weather_3 is another problem on .*there 'Now new trial.*here 'Goal: .*agentgym-weather"):
            env.reset(options={"item_id": "weather_3"})
        env.close()


def test_close_on_a_server_that_is_gone_and_reset_on_one_that_was_restarted() -> None:
    server = replica.TextCraft()
    with replica.serve(server) as url:
        env = make("agentgym-textcraft", server=url)
        env.reset(options={"item_id": "agentgym-textcraft_1"})
        server.sessions.clear()  # the server was restarted, between two requests
        with pytest.raises(ServerFailed, match="not valid"):
            env.answer("Action: inventory")
        assert "diamond boots" in env.reset(options={"item_id": "agentgym-textcraft_1"})[0]
    port = int(url.rpartition(":")[2])
    with pytest.raises(ServerFailed, match="does not answer"):
        env.reset(options={"item_id": "agentgym-textcraft_1"})
    with replica.serve(replica.TextCraft(), port):
        assert "diamond boots" in env.reset(options={"item_id": "agentgym-textcraft_1"})[0]
    env.close()


def test_after_a_restart_no_episode_continues_in_the_session_of_another() -> None:
    server = replica.TextCraft()
    with replica.serve(server) as url:
        noticing, unaware, late = (make("agentgym-textcraft", server=url) for _ in range(3))
        for number, env in enumerate((unaware, noticing, late)):
            env.reset(options={"item_id": f"agentgym-textcraft_{number}"})
        server.sessions.clear()  # the server was restarted, between two requests
        with pytest.raises(SessionLost, match="not valid"):
            noticing.answer("Action: inventory")
        assert "diamond boots" in noticing.reset(options={"item_id": "agentgym-textcraft_1"})[0]
        for _ in range(2):
            with pytest.raises(SessionLost, match=r"agentgym-textcraft_0; reset\(\) begins it again"):
                unaware.answer("Action: inventory")
        late.close()  # it sends no number: the server would close another's session
        assert "bread" in unaware.reset(options={"item_id": "agentgym-textcraft_0"})[0]
        for env in (noticing, unaware):
            assert "Could not execute" in env.answer("Action: inventory")[0]
            env.close()
    assert server.closed == [0, 1]


def test_a_number_that_is_given_again_ends_the_episode_that_had_it() -> None:
    server = replica.TextCraft()
    with replica.serve(server) as url:
        earlier, later = (make("agentgym-textcraft", server=url) for _ in range(2))
        earlier.reset(options={"item_id": "agentgym-textcraft_0"})
        server.sessions.clear()  # restarted, and no request has failed
        assert "diamond boots" in later.reset(options={"item_id": "agentgym-textcraft_1"})[0]
        with pytest.raises(SessionLost, match="was restarted"):
            earlier.answer("Action: inventory")
        assert "Could not execute" in later.answer("Action: inventory")[0]
        earlier.close()
        later.close()


def test_two_episodes_never_share_a_session() -> None:
    with replica.serve(replica.Bird()) as url:
        first, second = (make("agentgym-bird", server=url) for _ in range(2))
        first.reset(options={"item_id": "agentgym-bird_1"})
        with pytest.raises(ServerFailed, match=r"gave session 17 twice.*lower rollout.concurrency"):
            second.reset(options={"item_id": "agentgym-bird_2"})
        first.close()
        assert second.reset(options={"item_id": "agentgym-bird_2"})[0] == "question 2"
        second.close()


def test_agentgyms_problems_are_environments_of_their_own_that_need_a_server() -> None:
    assert is_registered("agentgym-bird")
    assert not is_registered("agentgym-chess")
    cls = environment_class("agentgym-alfworld")
    assert (len(cls.instructions("explore")), len(cls.instructions("eval"))) == (2420, 200)
    assert "put mug 1 in/on shelf 1" in cls.prompt
    assert "agentgym+http" in str(cls.missing())
    with pytest.raises(UnknownItem, match="is played on a server"):
        cls().reset(options={"item_id": "agentgym-alfworld_3"})


def test_a_comparison_says_what_the_experts_actions_solve_on_a_server() -> None:
    boots = next(item.item_id for item in environment_class("textcraft").instructions("eval") if item.text == "craft 1 diamond boots")
    other = next(item.item_id for item in environment_class("textcraft").instructions("eval") if item.item_id != boots)
    with replica.serve(replica.TextCraft()) as url:
        lost, missing = compare("textcraft", url, [boots, other])
    assert (lost.outcome, missing.outcome) == ("lost", "other problem")
    assert "the server says 'Could not execute craft" in lost.reason
    assert summary("textcraft", [lost, missing]) == "textcraft: 0 of 2 solved; 1 lost, 1 other problem"
    with pytest.raises(ServerFailed, match="does not answer"):
        compare("textcraft", url, [boots, other])

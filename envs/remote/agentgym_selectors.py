"""Which number an instruction of this project has on an AgentGym server, and whether the server then began that very problem.

The same number is the same problem only in BabyAI, and on this project's own server. Invariant: a problem counts as this project's
instruction only if what the server sent at its reset names the same goal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from envs.base import UnknownItem
from envs.protocols.agentgym import MAZE_GOAL, MAZE_STARTS, PROTOCOLS, item_id_of
from envs.registry import VARIANT_OF, environment_class

_ALFWORLD_GAMES = 2_620
_MAX_TEXTCRAFT_GOALS = 5_000
_SCIWORLD_VARIATIONS = (
    ("boil", 30),
    ("melt", 30),
    ("freeze", 30),
    ("change-the-state-of-matter-of", 30),
    ("use-thermometer", 540),
    ("measure-melting-point-known-substance", 436),
    ("measure-melting-point-unknown-substance", 300),
    ("power-component", 20),
    ("power-component-renewable-vs-nonrenewable-energy", 20),
    ("test-conductivity", 900),
    ("test-conductivity-of-unknown-substances", 600),
    ("find-living-thing", 300),
    ("find-non-living-thing", 300),
    ("find-plant", 300),
    ("find-animal", 300),
    ("chemistry-mix", 32),
    ("chemistry-mix-paint-secondary-color", 36),
    ("chemistry-mix-paint-tertiary-color", 36),
    ("lifespan-longest-lived", 125),
    ("lifespan-shortest-lived", 125),
    ("lifespan-longest-lived-then-shortest-lived", 125),
    ("identify-life-stages-1", 14),
    ("identify-life-stages-2", 10),
)
"""AgentGym's ScienceWorld tasks in the order of its numbers, with their variations: all but seven of the thirty."""
_ORDER_WORDS = re.compile(r"(,? then|,? after you) ")
_TEXTCRAFT_GOAL = re.compile(r"Goal: craft (?:1 )?([^.\n]+)\.?\s*$")
_MAZE_POSITIONS = re.compile(r"goal is at position (\d+), (\d+)\..*position is at position (\d+), (\d+)\.")
_textcraft_goals: dict[str, dict[str, int]] = {}
_textcraft_lock = threading.Lock()

ReadObservation = Callable[[int], str]
"""Resets the server to a selector's number and returns the first observation."""


def selectors(name: str, item_id: str, url: str, read_observation: ReadObservation) -> Iterator[int]:
    """The numbers that may be the instruction `item_id` on the server at `url`, in the order to try them. Raises UnknownItem."""
    number = item_id.rpartition("_")[2]
    if not (number.isascii() and number.isdecimal()):
        raise UnknownItem(f"{name} has no instruction {item_id!r}")
    if name == "maze":
        yield from (game for game in range(len(MAZE_STARTS)) if item_id_of("maze", game) == item_id)
    elif name == "alfworld":
        yield from (game for game in range(_ALFWORLD_GAMES) if item_id_of("alfworld", game) == item_id)
    else:
        yield int(number)
    if name == "sciworld":
        yield from _sciworld_selector(item_id)
    if VARIANT_OF.get(name, name) == "textcraft":
        selector = _textcraft_selector(goal_of(name, item_id), url, read_observation)
        if selector is not None:
            yield selector


def goal_on_server(name: str, reply: Any, observation: str) -> str:
    """What the server says to be the problem: that part of its reset that `goal_of` gives for an instruction."""
    if name == "babyai":
        return _mission(observation)
    if name == "textcraft":
        return _textcraft_goal(observation)
    if name == "sciworld":
        return f"{reply.get('task_name')}, variation {reply.get('var_num')}"
    if name == "webarena":
        return str(reply.get("object"))
    if name == "maze":
        match = _MAZE_POSITIONS.search(observation)
        return observation if match is None else _maze_goal((int(match[3]), int(match[4])), (int(match[1]), int(match[2])))
    return observation


def goal_of(name: str, item_id: str) -> str:
    """The instruction as `goal_on_server` gives it on a server that has the same problem. Raises UnknownItem."""
    cls = environment_class(name)
    if name in ("babyai", "alfworld", "bird", "webshop"):
        return _local_goal(name, item_id)
    text = cls.instruction(item_id).text
    if VARIANT_OF.get(name, name) == "textcraft":
        return _textcraft_goal(f"Goal: {text}")
    if name == "sciworld":
        game = _sciworld_game(item_id)
        return f"{game.task_type}, variation {game.variation}"
    if name == "maze":
        (goal, start) = (_cell(part) for part in reversed(re.findall(r"\d+, \d+", text)))
        return _maze_goal(start, goal)
    return text if name in ("wordle", "webarena") else f"Goal: {text}"


@lru_cache(maxsize=4096)
def _local_goal(name: str, item_id: str) -> str:
    """The goal in the first observation of this project's environment."""
    env = environment_class(name)()
    try:
        observation = env.begin(item_id)
    finally:
        env.close()
    return _mission(observation) if name == "babyai" else observation


def _mission(observation: str) -> str:
    """BabyAI's goal. AgentGym's server writes `and` for the words of order, so all are compared without them."""
    mission = observation.partition("\n")[0].removeprefix("Your goal: ")
    return " ".join(_ORDER_WORDS.sub(" and ", mission).replace(",", "").split())


def _textcraft_goal(text: str) -> str:
    match = _TEXTCRAFT_GOAL.search(text)
    return text[-200:] if match is None else match[1].replace("minecraft:", "").replace("_", " ").strip()


def _textcraft_selector(goal: str, url: str, read_observation: ReadObservation) -> int | None:
    """The number of a TextCraft goal on a server, which depends on the order in which the server's disk lists its recipes.

    The server is asked for one number after the other until the goal is found; what was read is kept for the next instruction.
    """
    with _textcraft_lock:
        goals = _textcraft_goals.setdefault(url, {})
        while goal not in goals and "" not in goals and len(goals) < _MAX_TEXTCRAFT_GOALS:
            number = len(goals)
            next_goal = _textcraft_goal(read_observation(number))
            goals["" if next_goal in goals else next_goal] = number  # the numbers wrap: "" marks the end
        return goals.get(goal)


def _sciworld_game(item_id: str) -> Any:
    from envs.sciworld.games import games

    number = int(item_id.rpartition("_")[2])
    if number >= len(games()):
        raise UnknownItem(f"sciworld has no instruction {item_id!r}; there are sciworld_0 to sciworld_{len(games()) - 1}")
    return games()[number]


def _sciworld_selector(item_id: str) -> Iterator[int]:
    game, offset = _sciworld_game(item_id), 0
    for task_type, variations in _SCIWORLD_VARIATIONS:
        if task_type == game.task_type:
            yield offset + game.variation
        offset += variations


def _cell(text: str) -> tuple[int, int]:
    row, column = map(int, text.split(", "))
    return row, column


def _maze_goal(start: tuple[int, int], goal: tuple[int, int]) -> str:
    return f"from {start[0]}, {start[1]} to {goal[0]}, {goal[1]}"


def why_no_number(name: str) -> str:
    """The reason why an instruction has no number on AgentGym's servers."""
    if name == "maze":
        return f"its mazes have the goal {MAZE_GOAL[0]}, {MAZE_GOAL[1]} and {len(MAZE_STARTS)} starting cells"
    return f"its {PROTOCOLS[name].selector_field} counts the {_ALFWORLD_GAMES} games of AgentTraj-L and AgentEval"

"""AgentGym's HTTP protocol, environment by environment: names of fields, forms of replies, and selectors of instructions.

AgentGym's servers have no common schema: session ids have two names, selectors seven, observations two, and some servers send errors with
status 200. Invariant: client and server take these differences from `PROTOCOLS` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envs.base import UnknownItem
from envs.registry import environment_class

TOOL_ENVIRONMENTS = ("weather", "movie", "academia", "sheet", "todo")
SCIWORLD_SCALE = 100
"""ScienceWorld's rewards are percent in AgentGym's protocol."""
MAZE_GOAL = (8, 6)
MAZE_STARTS: tuple[tuple[int, int], ...] = (
    *((1, column) for column in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)),
    *((row, 3) for row in (2, 3, 4)),
    *((5, column) for column in (3, 4, 5, 6)),
    *((row, 6) for row in (6, 7)),
    *((5, column) for column in (7, 8, 9)),
    *((row, 9) for row in (4, 3, 2)),
)
"""The starting cell, (row, column), of each of MAZE's games on AgentGym's server: first the arms of both T's, then the way."""


@dataclass(frozen=True, slots=True)
class AgentGymProtocol:
    """The protocol of one environment. Its client is given the URL of the server with `path` below /agentgym."""

    selector_field: str
    path: str
    id_field: Literal["id", "env_idx"] = "id"
    """The name of the session id. Most servers with `env_idx` reply to /create with the bare number."""
    observation_field: str = "observation"
    has_score: bool = False
    reset_reply: Literal["object", "text", "pair"] = "object"
    """What /reset replies: an object, the text alone, or [text, null]."""
    reward_is_total: bool = False
    """Whether the reward of a step is that of the episode so far: the best answer of the tool environments, ScienceWorld's score."""

    @property
    def errors_have_status_200(self) -> bool:
        """Whether an error is a reply with status 200 and a field `error`."""
        return self.id_field == "id"


PROTOCOLS: dict[str, AgentGymProtocol] = {
    "webshop": AgentGymProtocol("session_id", "webshop", id_field="env_idx", observation_field="state", reset_reply="pair"),
    "webarena": AgentGymProtocol("idx", "webarena", id_field="env_idx"),
    "maze": AgentGymProtocol("game", "lmrlgym/maze"),
    "wordle": AgentGymProtocol("seed", "lmrlgym/wordle"),
    "alfworld": AgentGymProtocol("game", "alfworld"),
    "sciworld": AgentGymProtocol("data_idx", "sciworld", has_score=True, reward_is_total=True),
    "babyai": AgentGymProtocol("data_idx", "babyai", has_score=True),
    "textcraft": AgentGymProtocol("data_idx", "textcraft"),
    "bird": AgentGymProtocol("item_id", "bird", id_field="env_idx", observation_field="state", reset_reply="pair"),
    **{name: AgentGymProtocol("id", name, id_field="env_idx", reset_reply="text", reward_is_total=True) for name in TOOL_ENVIRONMENTS},
}


def item_id_of(name: str, selector: int) -> str:
    """The item id of a selector's number on this project's server. It need not exist. Raises UnknownItem for a number outside MAZE's games.

    The number is the one in the item id, except that ALFWorld counts its 2,420 training games first (AgentTraj-L here) and its 200 test
    games after them (AgentEval), that MAZE's numbers are the starting cells of AgentGym's list (MAZE_STARTS), and that TextCraft's wrap.
    """
    cls = environment_class(name)
    if name == "alfworld":
        games = cls.instructions("train_large") + cls.instructions("eval")
        if 0 <= selector < len(games):
            return games[selector].item_id
    if name == "maze":
        return _maze_item_id(selector)
    return f"{name}_{selector % cls.sizes.instructions if name == 'textcraft' else selector}"


def _maze_item_id(game: int) -> str:
    from envs.maze import DOUBLE_T, free_cells

    if not 0 <= game < len(MAZE_STARTS):
        raise UnknownItem(f"The game {game} is not valid.")
    cells = free_cells(DOUBLE_T)
    return f"maze_{cells.index(MAZE_STARTS[game]) * len(cells) + cells.index(MAZE_GOAL)}"

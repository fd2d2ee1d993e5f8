"""The GET routes of AgentGym's protocol, by environment: they read a session without a step.

Invariant: a view changes nothing, and none shows a hidden word, a gold query or another answer.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from typing import Any, cast

from envs.base import TextEnv
from envs.protocols.agentgym import SCIWORLD_SCALE, AgentGymProtocol
from envs.server.sessions import Session, SessionError

View = Callable[[Session], Any]
MAZE_ACTIONS = ["move left", "move right", "move up", "move down"]
"""The reply of MAZE's /available_actions, which has no session: it does not depend on the cell."""
_TITLES = {
    "maze": "LMRL-Gym",
    "wordle": "LMRL-Gym",
    "alfworld": "AlfWorld",
    "sciworld": "ScienceWorld",
    "babyai": "BabyAI",
    "textcraft": "TextCraft",
}
_MAX_HINTS = 10
_PIXELS_PER_CELL = 32


def greeting(name: str, protocol: AgentGymProtocol) -> str:
    """The reply of `/`, by which AgentGym's servers show that they run."""
    return "ok" if protocol.id_field == "env_idx" else f"This is environment {_TITLES[name]}."


def observation(session: Session) -> str:
    return session.last.observation if session.last else ""


def babyai_state(session: Session) -> dict[str, Any]:
    """BabyAI's /observation, which is an object, with the goal before every observation."""
    if session.last is None:
        return {"observation": "Environment not initialized", "reward": 0, "score": 0, "done": False, "deleted": False}
    text = session.last.observation
    if session.last.turn:
        text = f"Your goal: {cast(Any, session.env).mission}\n{text}"
    return {"observation": text, "reward": session.last.reward, "score": session.env.reward, "done": session.env.done, "deleted": False}


def detail(session: Session) -> dict[str, Any]:
    """The last observation, whether the episode is over, and its reward so far."""
    last, env = session.last, session.env
    scale = SCIWORLD_SCALE if session.environment == "sciworld" else 1
    fields = {"observation": observation(session), "reward": scale * env.reward, "done": last is not None and env.done, "deleted": False}
    if last is None:
        return fields | {"done": False}
    if session.environment == "alfworld":
        fields |= {"world_type": "Text", "available_actions": env.available_actions() or []}
    if session.environment == "maze":
        fields |= {"maze_name": "double_t_maze"}
    if session.environment == "sciworld":
        fields |= {"score": scale * env.reward, "task_name": _game(session).task_type, "var_num": sciworld_variation(session)}
    return fields


def available_actions(session: Session) -> list[str]:
    return session.env.available_actions() or []


def webshop_actions(session: Session) -> dict[str, Any]:
    actions = available_actions(session)
    clickables = [action.removeprefix("click[").removesuffix("]") for action in actions if action.startswith("click[")]
    return {"has_search_bar": len(clickables) < len(actions), "clickables": clickables}


def webshop_instruction(session: Session) -> str:
    return f"Instruction: {_started(session).goal.text}"


def webshop_state(session: Session) -> dict[str, str]:
    """The page; the shop here has no HTML and no address, so the page is its text."""
    return {"url": "", "html": observation(session), "instruction_text": webshop_instruction(session)}


def textcraft_commands(session: Session) -> str:
    return "\n".join(map(str, _started(session).listed_recipes.values()))


def textcraft_goal(session: Session) -> str:
    return str(_started(session).goal)


def wordle_vocabulary(session: Session) -> list[str]:
    """Wordle's words that may still be the hidden one; before the first reset all words, because AgentGym's client asks only then."""
    from envs.wordle import Wordle, common_words, is_consistent

    assert isinstance(session.env, Wordle)
    return [word for word in session.env.words if is_consistent(word, session.env.guesses)] or list(common_words())


def sciworld_variation(session: Session) -> int:
    return int(_game(session).variation)


def sciworld_hints(session: Session) -> dict[str, Any]:
    actions, objects = _started(session).possible_actions_and_objects()
    return {"possible_actions": actions, "possible_objects": objects}


def sciworld_goals(session: Session) -> dict[str, Any]:
    return {"goals": _started(session).goal_progress()}


def sciworld_task(session: Session) -> dict[str, Any]:
    return {"task_description": _game(session).description}


def sciworld_state(session: Session) -> dict[str, Any]:
    hints = {field: values[:_MAX_HINTS] for field, values in sciworld_hints(session).items()}
    progress = sciworld_goals(session)["goals"]
    state = {"observation": observation(session), "goal_progress": progress, "current_moves": session.last.turn if session.last else 0}
    return state | sciworld_task(session) | hints | {"environment_info": detail(session)}


_COMMON: dict[str, View] = {"observation": observation}
_DETAIL: dict[str, View] = _COMMON | {"detail": detail}
VIEWS: dict[str, dict[str, View]] = {
    "webshop": _COMMON | {"available_actions": webshop_actions, "instruction_text": webshop_instruction, "state": webshop_state},
    "webarena": _COMMON,
    "maze": _DETAIL,
    "wordle": _DETAIL | {"filtered_vocab": wordle_vocabulary},
    "alfworld": _DETAIL | {"available_actions": available_actions},
    "sciworld": _DETAIL
    | {"action_hint": sciworld_hints, "goals": sciworld_goals, "task_description": sciworld_task, "state": sciworld_state},
    "babyai": {"observation": babyai_state},
    "textcraft": _DETAIL | {"commands": textcraft_commands, "goal": textcraft_goal},
    "bird": _COMMON,
    **dict.fromkeys(("weather", "movie", "academia", "sheet", "todo"), _COMMON),
}
"""The GET routes of each environment that need a session."""


def png_data_url(env: TextEnv) -> str:
    """BabyAI's grid as an image. Raises SessionError."""
    grid = getattr(env, "minigrid_env", None)
    if grid is None:
        raise SessionError(400, "this session has no episode yet; reset it")
    pixels = grid.get_frame(highlight=grid.highlight, tile_size=_PIXELS_PER_CELL)
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(rows)) + _png_chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode("ascii")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _started(session: Session) -> Any:
    """The environment of a session with an episode. Raises SessionError."""
    if session.last is None:
        raise SessionError(400, "this session has no episode yet; reset it")
    return session.env


def _game(session: Session) -> Any:
    return _started(session).game

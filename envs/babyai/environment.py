"""BabyAI as a text environment: item ids, rounds and the reward.

Invariant: `babyai_N` is valid for any N >= 0, in the catalogue or not: level N mod 40 with seed N div 40.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar

from envs.babyai.actions import STAY, Moves, available_actions
from envs.babyai.expert import BabyAIExpert
from envs.babyai.geometry import Pose
from envs.babyai.levels import DIFFICULTY, LEVELS, level_and_seed, make_level
from envs.babyai.observation import View
from envs.babyai.progress import MissionProgress
from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem
from envs.functions import Function, function

_ID = re.compile(r"babyai_(0|[1-9]\d{0,17})")


class BabyAI(TextEnv):
    """A grid of rooms with keys, balls, boxes and doors; a mission in simple formal English; a partial view as text.

    Built on minigrid's BabyAI levels (Chevalier-Boisvert et al., ICLR 2019, arXiv 1810.08272), after AgentGym's text server
    (arXiv 2406.04151). An action such as `go to red ball 1` stands for several primitive moves, planned over the cells in view.

    Reward: 1 - 0.9 * moves / limit, once, when the mission is fulfilled; 0 otherwise. `moves` counts primitive moves, `limit` is the
    level's own, and reaching it ends the episode without success. Progress: see `envs.babyai.progress.MissionProgress`.

    Differences from AgentGym's server, and why:
    - The reward is given once and ends the episode. If the reward is at most 0.5, AgentGym does not end the episode and adds the reward
      again at each step, so that junk actions add up to more than 1.
    - Reaching the level's limit ends the episode; AgentGym continues, with rewards that become negative.
    - The goal keeps ", then" and "after you"; AgentGym writes "and" for both, which hides an order that the level checks.
    - `toggle` is also offered in front of a box (the key of KeyInBox is in one) and an open door (a mission may require opening it again).
    - `pick up X` is accepted like `pickup X`: AgentGym's prompt uses the first form, but its server accepts only the second.
    - Objects with the same name are numbered once per observation, so `go to X 2` and `pickup X 2` mean what the description calls X 2;
      AgentGym's numbers skip objects that no path leads to.
    - `move forward` is offered only where the next cell is free, and paths cross only cells in view; AgentGym's may run into unseen
      cells and stop there.
    - An unavailable action costs a round; the reply is one sentence and the available actions.
    - A locked door is never offered without its key in hand, a door in front can be toggled either way, and `drop` needs free floor.
    - `toggle and go through X` gives the reward where the toggle fulfils the mission. AgentGym loses it, because it keeps only the reward
      of an action's last move; end such a mission with `go to X` and `toggle` there.
    - The expert's actions, replayed on AgentGym's server under the same ids, solve 659 of the 900 instructions; 850 if door missions end
      with `go to X` and `toggle`.
    - A view without objects says so, actions are listed without quotes, and `check available actions` is not offered (each
      observation lists them).
    """

    name = "babyai"
    version = 1
    task_types = LEVELS
    sizes = Sizes(instructions=900, eval=90, agent_traj=400, agent_traj_l=810)
    max_rounds = 20
    functions: ClassVar[tuple[Function, ...]] = (
        function("Turn to the left.", "turn left"),
        function("Turn to the right.", "turn right"),
        function("Go one cell forward.", "move forward"),
        function("Walk to an object of the list of actions.", "go to {object}"),
        function("Walk to an object and pick it up.", "pickup {object}"),
        function("Walk through an open door.", "go through {door}"),
        function("Open a door and walk through it.", "toggle and go through {door}"),
        function("Open, close or unlock what is directly in front of you.", "toggle"),
        function("Put down what you carry.", "drop"),
    )
    prompt: ClassVar[str] = (
        "You are in a grid of rooms and must reach the given goal. You see only what is in front of you. "
        "Each turn, choose one action from the list of available actions, word for word. "
        "Locked doors need the key of their color, and you can carry one thing.\n"
        "Answer in this form:\nThought: your reasoning\nAction: the action"
    )

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.minigrid_env: Any = None
        """The minigrid environment (a RoomGridLevel) of the episode."""
        self.view = View({}, None)
        self._actions: dict[str, Moves] = {}

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        return reward > 0.0

    def begin(self, item_id: str) -> str:
        match = _ID.fullmatch(item_id)
        if not match:
            raise UnknownItem(f"babyai has no instruction {item_id!r}; ids are babyai_N, N >= 0 (level N mod 40, seed N div 40)")
        self.minigrid_env = make_level(*level_and_seed(int(match[1])))
        self.minigrid_env.gen_obs = dict  # minigrid would draw its own observation after every primitive move; only `View` is read
        self._progress = MissionProgress(self.minigrid_env)
        self._update_view()
        return f"Your goal: {self.mission}\n{self._observation_text()}"

    def act(self, action: str) -> tuple[str, float, bool]:
        moves = self._actions.get(_normalize(action))
        if moves is None:
            return f"That action is not available here.{self._actions_text()}", 0.0, False
        reward, terminated, truncated = self._execute(moves)
        self._update_view()
        if terminated or truncated:
            self._actions = {}
            outcome = "The task is completed." if reward > 0 else "The task has failed." if terminated else "The step limit is reached."
            return f"{self.view.text()}\n{outcome}", reward, True
        return self._observation_text(), 0.0, False

    def measure_progress(self) -> float:
        return self._progress.measure()

    def available_actions(self) -> list[str]:
        return list(self._actions)

    def expert(self) -> Expert:
        return BabyAIExpert(self)

    # --- what the expert reads (envs.babyai.navigation.Episode) ----------------------------------------------------
    @property
    def mission(self) -> str:
        return str(self.minigrid_env.mission)

    @property
    def pose(self) -> Pose:
        """The agent's cell and heading."""
        x, y = self.minigrid_env.agent_pos
        return (int(x), int(y)), int(self.minigrid_env.agent_dir)

    def moves_by_action(self) -> dict[str, Moves]:
        """The available actions with the primitive moves that each stands for."""
        return self._actions

    def _execute(self, moves: Moves) -> tuple[float, bool, bool]:
        """Make the moves until the episode ends or one has no effect: (reward, terminated by the rules, truncated by the level's limit)."""
        env = self.minigrid_env
        for move in moves:
            before = _agent_state(env)
            _, reward, terminated, truncated, _ = env.step(move)
            if terminated or truncated:
                return (float(reward) if terminated else 0.0), terminated, truncated
            if move != STAY and _agent_state(env) == before:
                break
        return 0.0, False, False

    def _update_view(self) -> None:
        self.view = View.from_minigrid(self.minigrid_env)
        self._actions = available_actions(self.view)

    def _observation_text(self) -> str:
        return self.view.text() + self._actions_text()

    def _actions_text(self) -> str:
        return f"\nAvailable actions: [{', '.join(self._actions)}]"


def _normalize(action: str) -> str:
    text = " ".join(action.lower().split())
    return "pickup" + text.removeprefix("pick up") if text.startswith("pick up ") else text


def _agent_state(minigrid_env: Any) -> tuple[Any, ...]:
    """What a primitive move can change: the agent's cell and heading, the carried object, and the object in front."""
    front = minigrid_env.grid.get(*minigrid_env.front_pos)
    return tuple(minigrid_env.agent_pos), minigrid_env.agent_dir, minigrid_env.carrying, front, front.encode() if front else None


@lru_cache(maxsize=1)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """The committed instructions (see envs.babyai.generate). No level is built for it."""
    rows = json.loads((files("envs.babyai") / "instructions.json").read_text("utf-8"))
    training, evaluation = (tuple(_instruction(*row) for row in rows[split]) for split in ("train", "eval"))
    return training, evaluation


def _instruction(data_idx: int, goal: str, digest: str) -> Instruction:
    level, _ = level_and_seed(data_idx)
    return Instruction(f"babyai_{data_idx}", "babyai", level, DIFFICULTY[level], f"{goal} [first observation {digest}]")

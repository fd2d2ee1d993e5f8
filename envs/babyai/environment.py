"""BabyAI as a text world: the environment, its rules of reward and of ids.

Invariant: an id outside the catalogue is as good as one inside: `babyai_N` for any N >= 0 is level N mod 40 with seed N div 40.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar

from envs.babyai.levels import DIFFICULTY, LEVELS, build, level_and_seed
from envs.babyai.view import STAY, View
from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem

_ID = re.compile(r"babyai_(0|[1-9]\d{0,17})")


class BabyAI(TextEnv):
    """A grid of rooms with keys, balls, boxes and doors; a mission in a small formal English; a partial view told in words.

    Built on minigrid's BabyAI levels (Chevalier-Boisvert et al., ICLR 2019, arXiv 1810.08272), in the manner of AgentGym's text
    server (arXiv 2406.04151). One action is a walk or an act of several primitive moves, planned over what is in view.

    Reward: 1 - 0.9 * moves / limit, once, when the mission is fulfilled; 0 otherwise. `moves` counts primitive moves, `limit` is the
    level's own, and reaching it ends the episode without success.

    What differs from AgentGym's server, and why:
    - The reward is given once and the episode ends there. AgentGym cancels the end where the reward is at most 0.5 and then adds the
      reward again at each step, so junk actions add up to more than 1.
    - Reaching the level's limit ends the episode; AgentGym plays on, with rewards that become negative.
    - The goal keeps ", then" and "after you"; AgentGym writes "and" for both, which hides an order that the level checks.
    - `toggle` is also offered before a box (the key of KeyInBox lies in one) and an open door (a mission may ask to open it anew).
    - `pick up X` is understood like `pickup X`: AgentGym's prompt says the first, its server takes the second alone.
    - Things of one look are numbered once, so `go to X 2` and `pickup X 2` mean what the description calls X 2; AgentGym's numbers
      skip things that no path leads to.
    - `move forward` is offered only where the way is free, and paths cross only cells that are in view; AgentGym's may run into the
      unseen and break off.
    - An unavailable action is answered by one sentence and the available actions, and costs a round.
    - A locked door is never offered without its key in hand, a door in front can be toggled either way, and `drop` needs free floor.
    - A view without things says so, actions are listed without quotes, and `check available actions` is not offered (each
      observation lists them).
    """

    name = "babyai"
    task_types = LEVELS
    sizes = Sizes(instructions=900, eval=90, agent_traj=400, agent_traj_l=810)
    max_rounds = 20
    prompt: ClassVar[str] = (
        "You are in a grid of rooms and must reach the given goal. You see only what is in front of you. "
        "Each turn, choose one action from the list of available actions, word for word. "
        "Locked doors need the key of their color, and you can carry one thing.\n"
        "Answer in this form:\nThought: your reasoning\nAction: the action"
    )

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.world: Any = None
        self.view = View({}, None)
        self._actions: dict[str, tuple[int, ...]] = {}

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        return reward > 0.0

    def begin(self, item_id: str) -> str:
        found = _ID.fullmatch(item_id)
        if not found:
            raise UnknownItem(f"babyai has no instruction {item_id!r}; ids are babyai_N, N >= 0 (level N mod 40, seed N div 40)")
        self.world = build(*level_and_seed(int(found[1])))
        self._look()
        return f"Your goal: {self.world.mission}\n{self._observation_now()}"

    def act(self, action: str) -> tuple[str, float, bool]:
        moves = self._actions.get(_normal(action))
        if moves is None:
            return f"That action is not available here.{self._choices()}", 0.0, False
        reward, ended, cut = self._move(moves)
        self._look()
        if ended or cut:
            self._actions = {}
            outcome = "The task is completed." if reward > 0 else "The task has failed." if ended else "The step limit is reached."
            return f"{self.view.text()}\n{outcome}", reward, True
        return self._observation_now(), 0.0, False

    def available_actions(self) -> list[str]:
        return list(self._actions)

    def moves(self) -> dict[str, tuple[int, ...]]:
        """The actions open now with the primitive moves each stands for."""
        return self._actions

    def expert(self) -> Expert:
        from envs.babyai.expert import Guide  # players need it only where they want an expert

        return Guide(self)

    def _move(self, moves: tuple[int, ...]) -> tuple[float, bool, bool]:
        """Carry the primitive moves out until the end, or until one changes nothing: (reward, ended by the rules, cut by the limit)."""
        world = self.world
        for move in moves:
            before = _state(world)
            _, reward, ended, cut, _ = world.step(move)
            if ended or cut:
                return (float(reward) if ended else 0.0), ended, cut
            if move != STAY and _state(world) == before:
                break
        return 0.0, False, False

    def _look(self) -> None:
        self.view = View.of(self.world)
        self._actions = self.view.actions()

    def _observation_now(self) -> str:
        return self.view.text() + self._choices()

    def _choices(self) -> str:
        return f"\nAvailable actions: [{', '.join(self._actions)}]"


def _normal(action: str) -> str:
    words = " ".join(action.lower().split())
    return "pickup" + words.removeprefix("pick up") if words.startswith("pick up ") else words


def _state(world: Any) -> tuple[Any, ...]:
    """What a primitive move can change: where the agent is and looks, what it carries, what is before it."""
    front = world.grid.get(*world.front_pos)
    return tuple(world.agent_pos), world.agent_dir, world.carrying, front, front.encode() if front else None


@lru_cache(maxsize=1)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """The committed choice (see envs.babyai.choose). No world is built for it."""
    chosen = json.loads((files("envs.babyai") / "instructions.json").read_text("utf-8"))
    training, evaluation = (tuple(_instruction(*row) for row in chosen[split]) for split in ("train", "eval"))
    return training, evaluation


def _instruction(data_idx: int, goal: str, digest: str) -> Instruction:
    level, _ = level_and_seed(data_idx)
    return Instruction(f"babyai_{data_idx}", "babyai", level, DIFFICULTY[level], f"{goal} [first observation {digest}]")

"""SciWorld: experiments of primary school science in a house of words.

Invariant: an episode follows from its task and variation; nothing is shared between episodes but the Java machine.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem
from envs.sciworld.jvm import Simulation, missing

FILE = Path(__file__).with_name("games.json")
TASKS = (
    "boil", "change-the-state-of-matter-of", "chemistry-mix", "chemistry-mix-paint-secondary-color", "chemistry-mix-paint-tertiary-color",
    "find-animal", "find-living-thing", "find-non-living-thing", "find-plant", "freeze", "grow-fruit", "grow-plant",
    "identify-life-stages-1", "identify-life-stages-2", "inclined-plane-determine-angle", "inclined-plane-friction-named-surfaces",
    "inclined-plane-friction-unnamed-surfaces", "lifespan-longest-lived", "lifespan-longest-lived-then-shortest-lived",
    "lifespan-shortest-lived", "measure-melting-point-known-substance", "measure-melting-point-unknown-substance", "melt",
    "mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant", "power-component",
    "power-component-renewable-vs-nonrenewable-energy", "test-conductivity", "test-conductivity-of-unknown-substances", "use-thermometer",
)  # fmt: skip
_ITEM_ID = re.compile(r"sciworld_(0|[1-9][0-9]{0,8})")
_LONGEST_ACTION, _LONGEST_TEXT = 200, 1_500
_DONE = 0.9999  # the score is a sum of steps such as a thirtieth


@dataclass(frozen=True, slots=True)
class Game:
    """A variation of a task with ScienceWorld's own solution of it."""

    task: str
    variation: int
    held_out: bool
    description: str
    gold: tuple[str, ...]


class SciWorld(TextEnv):
    """Science experiments after ScienceWorld (arXiv 2203.07540), as AgentGym serves it, on the package `scienceworld` (Apache-2.0).

    Observation: the task and a look around first, then what each action did. Actions: ScienceWorld's own (`open door to kitchen`, `pick up
    thermometer`, `focus on seed`, `wait1` ...). Reward: the change of ScienceWorld's score, which goes from 0 to 1 over an episode; a fatal
    mistake ends it and takes the score back to 0. Success: the full score. At most 200 rounds. Task types: all thirty of ScienceWorld.
    Instructions: 2,120 training variations and 200 test variations of ScienceWorld, the latter for eval. The expert is ScienceWorld's
    gold path, recorded once (games.json; `python -m envs.sciworld.choose` makes it again). Needs Java: the extra `sciworld` brings it.

    Where it differs from AgentGym's, and why:
    - All thirty task types; there, seven are left out. Eval is ScienceWorld's test split; there, training variations.
    - One Java machine for many episodes, with a memory bound, and no list of all valid actions at every step; there, a machine each that
      grows to gigabytes, and three quarters of the time goes into that list, which nobody sees.
    - The same text on every machine: hash codes are counted, not addresses, so that lists have an order.
    - 200 rounds, since two task types take their expert up to 180; a limit of 30 would leave half of the expert's solutions out.
    - A score below 0 counts as 0.
    """

    name: ClassVar[str] = "sciworld"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = TASKS
    sizes: ClassVar[Sizes] = Sizes(instructions=2320, eval=200, agent_traj=1000, agent_traj_l=2120)
    max_rounds: ClassVar[int] = 200
    lowest_reward: ClassVar[float] = -1.0
    waiting_actions: ClassVar[frozenset[str]] = frozenset({"wait", "wait1"})  # no loop: what boils or grows takes many of them
    prompt: ClassVar[str] = (
        "Do the experiment in the house. Actions, with things and places for X and Y:\n"
        "look around, look at X, look in X, read X, inventory, task\n"
        "open X, close X, go to X, pick up X, put down X, move X to Y, pour X in Y, dunk X in Y, mix X\n"
        "activate X, deactivate X, connect X to Y, disconnect X, use X on Y, eat X, flush X, focus on X, wait, wait1\n"
        "Where an action could mean several things you are asked, and answer with a number.\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._simulation: Simulation | None = None
        self._score = 0.0

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def missing(cls) -> str | None:
        return missing()

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        return reward >= _DONE

    def begin(self, item_id: str) -> str:
        found = _ITEM_ID.fullmatch(item_id)
        if found is None or int(found[1]) >= len(games()):
            raise UnknownItem(f"sciworld has no instruction {item_id!r}; there are sciworld_0 to sciworld_{len(games()) - 1}")
        self.close()
        self.game, self._score = games()[int(found[1])], 0.0
        self._simulation = Simulation(self.game.task, self.game.variation)
        return _ascii(f"{self.game.description}\n{self._simulation.reset()}")

    def act(self, action: str) -> tuple[str, float, bool]:
        assert self._simulation is not None, "reset() starts it"
        command = " ".join(_ascii(action)[:_LONGEST_ACTION].split()).lower()
        if not command:
            return "No known action matches that input.", 0.0, False
        observation = _ascii(self._simulation.step(command)) or "Nothing happens."
        before, self._score = self._score, max(0.0, self._simulation.score)
        over = self._simulation.completed
        return observation[:_LONGEST_TEXT], self._score - before, over

    def expert(self) -> Expert:
        return Scientist(self.game)

    def close(self) -> None:
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None


class Scientist:
    """Does what ScienceWorld's own solution does, and says in a sentence what that is for."""

    def __init__(self, game: Game) -> None:
        self._left = iter(game.gold)

    def act(self, observation: str) -> tuple[str, str]:
        action = next(self._left, None)
        if action is None:
            raise ExpertStuck("the recorded solution has ended")
        return thought_for(action), action


_PURPOSES = (
    ("go to ", "I go on to the {}."),
    ("open ", "The {} must be open."),
    ("close ", "The {} can be closed."),
    ("look around", "I look at what is here."),
    ("look ", "I look closer."),
    ("pick up ", "I will need the {}."),
    ("focus on ", "The task is about the {}."),
    ("move ", "I bring it where it is needed."),
    ("pour ", "I bring it where it is needed."),
    ("use ", "I use one thing on another."),
    ("activate ", "I turn the {} on."),
    ("deactivate ", "I turn the {} off."),
    ("connect ", "I wire it up."),
    ("mix ", "I mix what is in the {}."),
    ("read ", "I read the {}."),
    ("wait", "This takes time."),
)


def thought_for(action: str) -> str:
    """A sentence for an action of the recorded solution."""
    for start, purpose in _PURPOSES:
        if action.startswith(start):
            return purpose.format(action.removeprefix(start).removeprefix("door to "))
    return "It is this one." if action.isdigit() else "I do the next step."


def _ascii(text: str) -> str:
    return "".join(char if " " <= char <= "~" or char == "\n" else " " if char == "\t" else "?" for char in text).strip()


@lru_cache(maxsize=None)
def games() -> tuple[Game, ...]:
    found = json.loads(FILE.read_text(encoding="ascii"))
    return tuple(
        Game(TASKS[task], variation, bool(held_out), found["descriptions"][text], tuple(gold.split("|")))
        for task, variation, held_out, text, gold in found["games"]
    )


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    training: list[Instruction] = []
    evaluation: list[Instruction] = []
    for number, game in enumerate(games()):
        steps = len(game.gold)
        label = next((f"up to {most} steps" for most in (10, 30, 60) if steps <= most), "more than 60 steps")
        text = f"{game.description} ({game.task}, variation {game.variation})"
        (evaluation if game.held_out else training).append(Instruction(f"sciworld_{number}", "sciworld", game.task, label, text))
    return tuple(training), tuple(evaluation)

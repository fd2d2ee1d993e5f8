"""SciWorld: primary school science experiments in a house described in text.

Invariant: an episode follows from its task type and variation; nothing is shared between episodes but the JVM.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import ClassVar

from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem
from envs.functions import Function, function
from envs.printable import printable
from envs.sciworld.expert import SciWorldExpert
from envs.sciworld.games import TASK_TYPES, games
from envs.sciworld.jvm import Simulation, missing

_ITEM_ID = re.compile(r"sciworld_(0|[1-9][0-9]{0,8})")
_MAX_ACTION_LENGTH, _MAX_OBSERVATION_LENGTH = 200, 1_500
_FULL_SCORE = 0.9999  # the score is a sum of steps such as 1/30, so it may miss 1 by a rounding error


class SciWorld(TextEnv):
    """Science experiments after ScienceWorld (arXiv 2203.07540), as AgentGym serves it, on the package `scienceworld` (Apache-2.0).

    Observation: first the task and a look around, then the result of each action. Actions: ScienceWorld's own (`open door to kitchen`,
    `pick up thermometer`, `focus on seed`, `wait1` ...). Reward: the change of ScienceWorld's score, which goes from 0 to 1 over an
    episode; a fatal mistake ends it and sets the score back to 0. Progress: the highest score. Success: the full score. At most 200 rounds.
    Task types: all thirty of ScienceWorld. Instructions: 2,120 training variations and 200 test variations of ScienceWorld, the latter for
    eval. The expert is ScienceWorld's gold path, recorded in games.json (`python -m envs.sciworld.generate` writes it). Needs Java, which
    the extra `sciworld` installs.

    Differences from AgentGym's SciWorld, and why:
    - All thirty task types; AgentGym leaves out seven. Eval is ScienceWorld's test split; in AgentGym, training variations.
    - One JVM with a memory limit for many episodes, and no list of all valid actions at every step; in AgentGym, each episode has a JVM
      that grows to gigabytes, and three quarters of the time go into that list, which no policy sees.
    - The same text on every machine: Java's hash codes are a counter, not addresses, so that lists have a fixed order.
    - 200 rounds, since the expert needs up to 199; a limit of 30 would leave out half of the expert's solutions.
    - A score below 0 counts as 0.
    """

    name: ClassVar[str] = "sciworld"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = TASK_TYPES
    sizes: ClassVar[Sizes] = Sizes(instructions=2320, eval=200, agent_traj=1000, agent_traj_l=2120)
    max_rounds: ClassVar[int] = 200
    lowest_reward: ClassVar[float] = -1.0
    functions: ClassVar[tuple[Function, ...]] = (
        function("Describe the room.", "look around"),
        function("Describe a thing.", "look at {thing}"),
        function("Describe the content of a container.", "look in {container}"),
        function("Describe a thing closely.", "examine {thing}"),
        function("Read a text.", "read {thing}"),
        function("List what you carry.", "inventory"),
        function("Repeat the task.", "task"),
        function("Open a door or container.", "open {thing}"),
        function("Close a door or container.", "close {thing}"),
        function("Walk to a room.", "go to {place}"),
        function("Pick up a thing.", "pick up {thing}"),
        function("Put down a thing.", "put down {thing}"),
        function("Drop a thing.", "drop {thing}"),
        function("Move a thing into a container.", "move {thing} to {container}"),
        function("Pour a liquid into a container.", "pour {thing} into {container}"),
        function("Pour a liquid in a container.", "pour {thing} in {container}", name="pour_in"),
        function("Dunk a container into a liquid.", "dunk {thing} into {container}"),
        function("Dunk a container in a liquid.", "dunk {thing} in {container}", name="dunk_in"),
        function("Mix the content of a container.", "mix {container}"),
        function("Switch a device on.", "activate {device}"),
        function("Switch a device off.", "deactivate {device}"),
        function("Connect two electrical parts.", "connect {part} to {other}"),
        function("Disconnect an electrical part.", "disconnect {part}"),
        function("Use a tool on a thing.", "use {tool} on {thing}"),
        function("Use a thing alone.", "use {thing}", name="use_alone"),
        function("Eat a thing.", "eat {thing}"),
        function("Flush a toilet.", "flush {thing}"),
        function("Say which thing the task is about.", "focus on {thing}"),
        function("Wait for ten steps.", "wait"),
        function("Wait for one step.", "wait1"),
        function("Answer the question what is meant.", "{number}", name="choose", number="integer"),
    )
    waiting_actions: ClassVar[frozenset[str]] = frozenset({"wait", "wait1"})  # needed many times in a row where something boils or grows
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
        return reward >= _FULL_SCORE

    def begin(self, item_id: str) -> str:
        match = _ITEM_ID.fullmatch(item_id)
        if match is None or int(match[1]) >= len(games()):
            raise UnknownItem(f"sciworld has no instruction {item_id!r}; there are sciworld_0 to sciworld_{len(games()) - 1}")
        self.close()
        self.game, self._score = games()[int(match[1])], 0.0
        self._simulation = Simulation(self.game.task_type, self.game.variation)
        return _ascii(f"{self.game.description}\n{self._simulation.reset()}")

    def act(self, action: str) -> tuple[str, float, bool]:
        assert self._simulation is not None, "call reset() first"
        command = " ".join(_ascii(action)[:_MAX_ACTION_LENGTH].split()).lower()
        if not command:
            return "No known action matches that input.", 0.0, False
        observation = _ascii(self._simulation.step(command)) or "Nothing happens."
        previous_score, self._score = self._score, max(0.0, self._simulation.score)
        return observation[:_MAX_OBSERVATION_LENGTH], self._score - previous_score, self._simulation.completed

    def measure_progress(self) -> float:
        """ScienceWorld's score."""
        return self._score

    def goal_progress(self) -> str:
        """ScienceWorld's text about the goals that are reached."""
        return "" if self._simulation is None else _ascii(self._simulation.goal_progress)

    def possible_actions_and_objects(self) -> tuple[list[str], list[str]]:
        """The forms of actions, and the objects that can be named now."""
        if self._simulation is None:
            return [], []
        return self._simulation.possible_actions(), self._simulation.possible_objects()

    def expert(self) -> Expert:
        return SciWorldExpert(self.game.gold_path)

    def close(self) -> None:
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None


def _ascii(text: str) -> str:
    return printable(text.replace("\t", " ")).strip()


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    training: list[Instruction] = []
    evaluation: list[Instruction] = []
    for number, game in enumerate(games()):
        steps = len(game.gold_path)
        difficulty = next((f"up to {limit} steps" for limit in (10, 30, 60) if steps <= limit), "more than 60 steps")
        text = f"{game.description} ({game.task_type}, variation {game.variation})"
        (evaluation if game.held_out else training).append(Instruction(f"sciworld_{number}", "sciworld", game.task_type, difficulty, text))
    return tuple(training), tuple(evaluation)

"""ALFWorld: household tasks in text.

Invariant: an episode follows from its game, and the game from the item id.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.alfworld.expert import ALFWorldExpert
from envs.alfworld.games import TASK_TYPES, Game, generate_game
from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem
from envs.functions import Function, function

FILE = Path(__file__).with_name("games.json")
SelectedGame = tuple[int, int, int, int]
"""(index of the task type, number, 1 if held out for eval else 0, rounds that the expert takes)"""
_ITEM_ID = re.compile(r"alfworld_(0|[1-9][0-9]{0,8})")
_MAX_ACTION_LENGTH = 200


class ALFWorld(TextEnv):
    """Household tasks after ALFWorld (arXiv 2010.03768), as AgentGym serves them.

    Observation: first the room's receptacles and the task, then the result of each command. Actions: `go to desk 1`, `open drawer 2`, `take
    mug 1 from desk 1`, `move mug 1 to shelf 1` (or `put mug 1 in/on shelf 1`), `use desklamp 1`, `heat|cool|clean mug 1 with ...`, `slice
    egg 1 with knife 1`, `examine`, `inventory`, `look`; `available_actions` lists the possible ones. Reward: 1 when the task is done,
    which ends the episode; else 0. Progress: the share of the steps to see, hold, change and place the object. At most 30 rounds. Task
    types: the six of ALFWorld. Instructions: 3,827 games in ALFWorld's 120 rooms (rooms.json, from the package alfworld, MIT, has their
    contents), 200 of them eval, in separate rooms.

    Differences from AgentGym's ALFWorld, and why:
    - The simulator is written for this project in plain Python. TextWorld needs packages under the GPL, and its steps take a thousand times
      longer.
    - Games are generated from a number (objects are put where they fit); in AgentGym, they are files that must be downloaded.
    - Both `move X to Y` and `put X in/on Y` are accepted; in AgentGym, a newer package changes the wording, and so a policy's score.
    - Rules and texts are those of TextWorld with the files of alfworld 0.4.2 (tests/envs/test_alfworld_textworld.py compares them step by
      step), with these exceptions: "an apple" for "a apple"; no command `help`; lists may have another order; mugs, plates and the like are
      always empty, since alfworld itself has no command that puts something into them.
    - Eval has rooms that training does not have; in AgentGym, its games are in the training rooms.
    - Games that take the expert more than 30 rounds are left out (`python -m envs.alfworld.generate` writes games.json).
    """

    name: ClassVar[str] = "alfworld"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = TASK_TYPES
    sizes: ClassVar[Sizes] = Sizes(instructions=3827, eval=200, agent_traj=500, agent_traj_l=2420)
    max_rounds: ClassVar[int] = 30
    functions: ClassVar[tuple[Function, ...]] = (
        function("Walk to a place.", "go to {receptacle}"),
        function("Open a receptacle.", "open {receptacle}"),
        function("Close a receptacle.", "close {receptacle}"),
        function("Take an object.", "take {object} from {receptacle}"),
        function("Put the object that you carry somewhere.", "move {object} to {receptacle}"),
        function("Put the object that you carry somewhere, in the wording of older versions.", "put {object} in/on {receptacle}"),
        function("Use an object, such as a lamp.", "use {object}"),
        function("Heat an object.", "heat {object} with {appliance}"),
        function("Cool an object.", "cool {object} with {appliance}"),
        function("Clean an object.", "clean {object} with {appliance}"),
        function("Slice an object.", "slice {object} with {tool}"),
        function("Look at an object or a place.", "examine {thing}"),
        function("List what you carry.", "inventory"),
        function("Look around.", "look"),
    )
    prompt: ClassVar[str] = (
        "Do the task in the house. Actions:\n"
        "go to desk 1\nopen drawer 2\nclose drawer 2\ntake mug 1 from desk 1\nmove mug 1 to shelf 1\nuse desklamp 1\n"
        "heat mug 1 with microwave 1\ncool mug 1 with fridge 1\nclean mug 1 with sinkbasin 1\nexamine desk 1\ninventory\nlook\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        match = _ITEM_ID.fullmatch(item_id)
        count = len(selected_games())
        if match is None or int(match[1]) >= count:
            raise UnknownItem(f"alfworld has no instruction {item_id!r}; there are alfworld_0 to alfworld_{count - 1}")
        self.game: Game = game_at(int(match[1]))
        self.household = self.game.new_household()
        return f"{self.household.introduction()}\n\nYour task is to: {self.game.goal}."

    def act(self, action: str) -> tuple[str, float, bool]:
        observation = self.household.execute(" ".join(action[:_MAX_ACTION_LENGTH].lower().split()))
        won = self.game.is_won(self.household)
        return observation, float(won), won

    def measure_progress(self) -> float:
        return self.game.progress(self.household)

    def expert(self) -> Expert:
        return ALFWorldExpert(self.game)

    def available_actions(self) -> list[str]:
        return self.household.admissible_commands()


@lru_cache(maxsize=None)
def selected_games() -> tuple[SelectedGame, ...]:
    """The games of games.json; the index is the number in the item id."""
    return tuple(tuple(entry) for entry in json.loads(FILE.read_text(encoding="ascii")))


def game_at(index: int) -> Game:
    """The game of the instruction `alfworld_{index}`."""
    type_index, number, held_out, _ = selected_games()[index]
    return generate_game(TASK_TYPES[type_index], number, bool(held_out))


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    training: list[Instruction] = []
    evaluation: list[Instruction] = []
    for index, (type_index, number, held_out, rounds) in enumerate(selected_games()):
        difficulty = f"rounds {5 * ((rounds - 1) // 5) + 1}-{5 * ((rounds - 1) // 5) + 5}"
        game = game_at(index)
        text = f"{game.goal} ({game.room}, layout {number})"
        (evaluation if held_out else training).append(
            Instruction(f"alfworld_{index}", "alfworld", TASK_TYPES[type_index], difficulty, text)
        )
    return tuple(training), tuple(evaluation)

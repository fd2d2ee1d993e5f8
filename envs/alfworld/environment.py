"""ALFWorld: household tasks in words.

Invariant: an episode follows from its game, and the game from the item id.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.alfworld.expert import Householder
from envs.alfworld.games import TASK_TYPES, Game, game
from envs.base import Expert, Instruction, Sizes, TextEnv, UnknownItem

FILE = Path(__file__).with_name("games.json")
_ITEM_ID = re.compile(r"alfworld_(0|[1-9][0-9]{0,8})")
_LONGEST = 200


class ALFWorld(TextEnv):
    """Household tasks after ALFWorld (arXiv 2010.03768), as AgentGym serves them.

    Observation: the room's receptacles and the task first, then what each command did. Actions: `go to desk 1`, `open drawer 2`,
    `take mug 1 from desk 1`, `move mug 1 to shelf 1` (or `put mug 1 in/on shelf 1`), `use desklamp 1`, `heat|cool|clean mug 1 with ...`,
    `slice egg 1 with knife 1`, `examine`, `inventory`, `look`; those that are possible are in `available_actions`. Reward: 1 when the task
    is done, which ends the episode; else 0. At most 30 rounds. Task types: the six of ALFWorld. Instructions: 3,827 games in ALFWorld's 120
    rooms (what each has is in rooms.json, from the wheel of alfworld, MIT), 200 of them eval, in rooms of their own.

    Where it differs from AgentGym's, and why:
    - An engine of its own in plain Python: TextWorld's needs packages under the GPL, and steps a thousand times slower.
    - Games are generated from a number (objects lie where they fit); there, they are files that must be downloaded.
    - Both wordings of putting are understood; there, a newer package changes the words and a policy's score with them.
    - Rules and texts are TextWorld's with the files of alfworld 0.4.2 (tests/envs/test_alfworld_textworld.py compares them step by step),
      but for: "an apple" where it says "a apple"; no command `help`; lists may come in another order; mugs, plates and the like are
      always empty, since alfworld itself has no command that puts something into them.
    - Eval has rooms that training does not have; there, its games come from the training rooms.
    - A game whose expert needs more than 30 rounds is not chosen (games.json; `python -m envs.alfworld.choose` makes it again).
    """

    name: ClassVar[str] = "alfworld"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = TASK_TYPES
    sizes: ClassVar[Sizes] = Sizes(instructions=3827, eval=200, agent_traj=500, agent_traj_l=2420)
    max_rounds: ClassVar[int] = 30
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
        found = _ITEM_ID.fullmatch(item_id)
        if found is None or int(found[1]) >= len(chosen()):
            raise UnknownItem(f"alfworld has no instruction {item_id!r}; there are alfworld_0 to alfworld_{len(chosen()) - 1}")
        self.game: Game = chosen_game(int(found[1]))
        self.world = self.game.world()
        return f"{self.world.welcome()}\n\nYour task is to: {self.game.goal}."

    def act(self, action: str) -> tuple[str, float, bool]:
        observation = self.world.do(" ".join(action[:_LONGEST].lower().split()))
        won = self.game.won(self.world)
        return observation, float(won), won

    def expert(self) -> Expert:
        return Householder(self.game)

    def available_actions(self) -> list[str]:
        return self.world.admissible()


@lru_cache(maxsize=None)
def chosen() -> tuple[tuple[int, int, int, int], ...]:
    """(task type, number, held out, rounds of the expert) of every instruction."""
    return tuple(tuple(entry) for entry in json.loads(FILE.read_text(encoding="ascii")))


def chosen_game(index: int) -> Game:
    kind, number, held_out, _ = chosen()[index]
    return game(TASK_TYPES[kind], number, bool(held_out))


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    training: list[Instruction] = []
    evaluation: list[Instruction] = []
    for index, (kind, number, held_out, rounds) in enumerate(chosen()):
        label = f"rounds {5 * ((rounds - 1) // 5) + 1}-{5 * ((rounds - 1) // 5) + 5}"
        played = chosen_game(index)
        text = f"{played.goal} ({played.room}, layout {number})"
        (evaluation if held_out else training).append(Instruction(f"alfworld_{index}", "alfworld", TASK_TYPES[kind], label, text))
    return tuple(training), tuple(evaluation)

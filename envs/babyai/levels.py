"""The forty BabyAI levels of AgentGym's ids, and the construction of a level's minigrid environment.

Invariant: a data index names one level and one seed (level = index mod 40, seed = index div 40, as in AgentGym), and an episode depends
on these two alone: each has a minigrid environment of its own. The construction of a level ends within a bounded number of draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from minigrid.envs.babyai.core import roomgrid_level

from envs.base import UnknownItem

ONE_ROOM, SEVERAL_ROOMS, SEVERAL_PARTS = "one room", "several rooms", "several parts"

# Level -> difficulty: the room count, or "several parts" where missions may chain subgoals ("..., then ..."). The order is AgentGym's,
# since a level's index is part of the item id.
DIFFICULTY = {
    "GoToRedBallGrey": ONE_ROOM,
    "GoToRedBall": ONE_ROOM,
    "GoToRedBallNoDists": ONE_ROOM,
    "GoToObjS6": ONE_ROOM,
    "GoToLocalS8N7": ONE_ROOM,
    "GoToObjMazeS7": SEVERAL_ROOMS,
    "GoToImpUnlock": SEVERAL_ROOMS,
    "GoToSeqS5R2": SEVERAL_PARTS,
    "GoToRedBlueBall": ONE_ROOM,
    "GoToDoor": SEVERAL_ROOMS,
    "GoToObjDoor": SEVERAL_ROOMS,
    "Open": SEVERAL_ROOMS,
    "OpenRedDoor": SEVERAL_ROOMS,
    "OpenDoorLoc": SEVERAL_ROOMS,
    "OpenRedBlueDoorsDebug": SEVERAL_PARTS,
    "OpenDoorsOrderN4Debug": SEVERAL_PARTS,
    "Pickup": SEVERAL_ROOMS,
    "UnblockPickup": SEVERAL_ROOMS,
    "PickupLoc": ONE_ROOM,
    "PickupDistDebug": ONE_ROOM,
    "PickupAbove": SEVERAL_ROOMS,
    "PutNextLocalS6N4": ONE_ROOM,
    "PutNextS7N4Carrying": SEVERAL_ROOMS,
    "Unlock": SEVERAL_ROOMS,
    "UnlockLocalDist": SEVERAL_ROOMS,
    "KeyInBox": SEVERAL_ROOMS,
    "UnlockPickupDist": SEVERAL_ROOMS,
    "BlockedUnlockPickup": SEVERAL_ROOMS,
    "UnlockToUnlock": SEVERAL_ROOMS,
    "ActionObjDoor": SEVERAL_ROOMS,
    "FindObjS7": SEVERAL_ROOMS,
    "KeyCorridorS6R3": SEVERAL_ROOMS,
    "OneRoomS20": ONE_ROOM,
    "MoveTwoAcrossS8N9": SEVERAL_PARTS,
    "SynthS5R2": SEVERAL_ROOMS,
    "SynthLoc": SEVERAL_ROOMS,
    "SynthSeq": SEVERAL_PARTS,
    "MiniBossLevel": SEVERAL_PARTS,
    "BossLevel": SEVERAL_PARTS,
    "BossLevelNoUnlock": SEVERAL_PARTS,
}
LEVELS = tuple(DIFFICULTY)

# minigrid's level generators print every rejected draw; a module global named `print` keeps that off stdout, in every thread.
roomgrid_level.print = lambda *_: None


# Of 3,500 levels, none needed more than 2,542 draws in an attempt, or 19 attempts. The bounds end endless loops and change no other level.
# MAX_DRAWS defines the levels whose first layout is rejected by it: a change of it changes them.
MAX_DRAWS = 100_000
MAX_ATTEMPTS = 1_000


class LevelNotGenerated(UnknownItem):
    """minigrid finds no valid layout for a level and a seed."""


def level_and_seed(data_idx: int) -> tuple[str, int]:
    """The level and the seed of a data index (the inverse of AgentGym's formula)."""
    return LEVELS[data_idx % len(LEVELS)], data_idx // len(LEVELS)


def make_level(level: str, seed: int) -> Any:
    """A new minigrid environment (a RoomGridLevel), reset with the seed. Raises LevelNotGenerated."""
    spec = _spec(level)
    minigrid_env = load_env_creator(str(spec.entry_point))(**spec.kwargs)
    item_id = f"babyai_{seed * len(LEVELS) + LEVELS.index(level)}"
    with _bounded_generation(minigrid_env, f"{item_id} (level {level}, seed {seed})"):
        minigrid_env.reset(seed=seed)
    return minigrid_env


@contextmanager
def _bounded_generation(minigrid_env: Any, label: str) -> Iterator[None]:
    """Bound the random draws of an attempt to generate the level, and the attempts.

    minigrid draws until a draw is accepted. In some layouts none can be: in a room of nine cells, every free cell may face an object, and
    `place_agent` never returns. At the bound, the attempt ends with RecursionError, which minigrid's generator takes as a rejected layout:
    it starts again with the next random numbers. A level that is generated within the bounds is not changed.
    """
    draw, generate_mission = minigrid_env._rand_int, minigrid_env.gen_mission
    draws = attempts = 0

    def bounded_draw(low: int, high: int) -> Any:
        nonlocal draws
        draws += 1
        if draws > MAX_DRAWS:
            draws = 0  # the next attempt draws before it calls `gen_mission`
            raise RecursionError(f"no layout after {MAX_DRAWS} draws")
        return draw(low, high)

    def bounded_generate_mission() -> None:
        nonlocal draws, attempts
        draws, attempts = 0, attempts + 1
        if attempts > MAX_ATTEMPTS:
            raise LevelNotGenerated(f"{label}: minigrid found no valid layout in {MAX_ATTEMPTS} attempts; choose another id")
        generate_mission()

    minigrid_env._rand_int, minigrid_env.gen_mission = bounded_draw, bounded_generate_mission
    try:
        yield
    finally:
        del minigrid_env._rand_int, minigrid_env.gen_mission  # the methods of the class, as before


@lru_cache(maxsize=None)
def _spec(level: str) -> Any:
    version = 1 if level == "GoToObjS6" else 0  # minigrid dropped the -v0 of this one; -v1 is a 6 x 6 room as well
    return gymnasium.spec(f"BabyAI-{level}-v{version}")

"""The forty BabyAI levels of AgentGym's ids, and the construction of a level's minigrid environment.

Invariant: a data index names one level and one seed (level = index mod 40, seed = index div 40, as in AgentGym), and an episode depends
on these two alone: each has a minigrid environment of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from minigrid.envs.babyai.core import roomgrid_level

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


def level_and_seed(data_idx: int) -> tuple[str, int]:
    """The level and the seed of a data index (the inverse of AgentGym's formula)."""
    return LEVELS[data_idx % len(LEVELS)], data_idx // len(LEVELS)


def make_level(level: str, seed: int) -> Any:
    """A new minigrid environment (a RoomGridLevel), reset with the seed."""
    spec = _spec(level)
    minigrid_env = load_env_creator(str(spec.entry_point))(**spec.kwargs)
    minigrid_env.reset(seed=seed)
    return minigrid_env


@lru_cache(maxsize=None)
def _spec(level: str) -> Any:
    version = 1 if level == "GoToObjS6" else 0  # minigrid dropped the -v0 of this one; -v1 is a 6 x 6 room as well
    return gymnasium.spec(f"BabyAI-{level}-v{version}")

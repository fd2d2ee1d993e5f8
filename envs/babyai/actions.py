"""The actions that a view offers, each planned as a sequence of minigrid's primitive moves over the visible cells.

Invariant: a plan crosses visible walkable cells only, so no action depends on anything that the observation does not show.
"""

from __future__ import annotations

from collections import deque

from envs.babyai.geometry import Offset, Pose, neighbor
from envs.babyai.observation import GridObject, View

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, STAY = range(7)  # minigrid's primitive moves
Moves = tuple[int, ...]


def available_actions(view: View) -> dict[str, Moves]:
    """Every action that can be taken now with its primitive moves, in the order in which the observation lists them."""
    actions: dict[str, Moves] = {"turn left": (LEFT,), "turn right": (RIGHT,)}
    ahead = view.object_ahead
    if view.is_walkable((1, 0)):
        actions["move forward"] = (FORWARD,)
    paths = _shortest_paths(view) if view.objects else {}
    for visible in view.objects:
        to_face = _path_to_face(paths, visible.offset)
        if to_face is None:
            continue
        # Where the agent faces it already, going there is one idle step: the mission "go to" is only checked after a step.
        actions[f"go to {visible.label}"] = to_face or (STAY,)
        if visible.object.is_portable and view.carrying is None:
            actions[f"pickup {visible.label}"] = (*to_face, PICKUP)
        if visible.object.is_passable:
            to_enter = _path_to_enter(paths, visible.offset)
            if to_enter is not None:
                actions[f"go through {visible.label}"] = to_enter
        elif _can_open(view, visible.object):
            actions[f"toggle and go through {visible.label}"] = (*to_face, TOGGLE, FORWARD)
    if ahead is not None and (ahead.kind == "box" or ahead.is_passable or _can_open(view, ahead)):
        actions["toggle"] = (TOGGLE,)
    if view.carrying is not None and (1, 0) in view.cells and ahead is None:
        actions["drop"] = (DROP,)
    return actions


def pose_after(pose: Pose, moves: Moves) -> Pose:
    """The pose at the end of turns and steps forward; other moves leave it as it is."""
    cell, heading = pose
    for move in moves:
        if move == FORWARD:
            cell = neighbor(cell, heading)
        elif move in (LEFT, RIGHT):
            heading = (heading + (1 if move == RIGHT else -1)) % 4
    return cell, heading


def _can_open(view: View, door: GridObject) -> bool:
    """Whether a toggle opens it now: a closed door, or a locked one whose key the agent carries."""
    key = GridObject("key", door.color)
    return door.state == "closed" or (door.state == "locked" and view.carrying == key)


def _path_to_face(paths: dict[Pose, Moves], offset: Offset) -> Moves | None:
    """The shortest path to a cell next to `offset`, looking at it; None where no path over visible cells leads there."""
    candidates = (paths.get((neighbor(offset, heading, -1), heading)) for heading in range(4))
    return min((path for path in candidates if path is not None), key=len, default=None)


def _path_to_enter(paths: dict[Pose, Moves], offset: Offset) -> Moves | None:
    candidates = (paths.get((offset, heading)) for heading in range(4))
    return min((path for path in candidates if path is not None), key=len, default=None)


def _shortest_paths(view: View) -> dict[Pose, Moves]:
    """The shortest moves to every pose within the view (breadth-first, straight on before turns)."""
    start: Pose = ((0, 0), 0)
    paths: dict[Pose, Moves] = {start: ()}
    queue = deque([start])
    while queue:
        offset, heading = pose = queue.popleft()
        forward = neighbor(offset, heading)
        successors: list[tuple[Pose, int]] = [((offset, (heading - 1) % 4), LEFT), ((offset, (heading + 1) % 4), RIGHT)]
        if view.is_walkable(forward):
            successors.insert(0, ((forward, heading), FORWARD))
        for successor, move in successors:
            if successor not in paths:
                paths[successor] = (*paths[pose], move)
                queue.append(successor)
    return paths

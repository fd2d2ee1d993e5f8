"""The expert's walking: where known objects are, how to get there, and how to clear the path.

Invariant: each decision follows from the views at the ends of turns; nothing else of the environment is read.
"""

from __future__ import annotations

from typing import Protocol

from envs.babyai.actions import FORWARD, LEFT, RIGHT, Moves, pose_after
from envs.babyai.explored_map import ExploredMap, ShortestPaths
from envs.babyai.geometry import Cell, Pose, neighbor, offset_from
from envs.babyai.mission import ObjectDescription
from envs.babyai.observation import View, VisibleObject
from envs.base import ExpertStuck

Decision = tuple[str, str]
"""(sentences of the thought, action)"""
WALK_SENTENCES = {"turn left": "I turn left.", "turn right": "I turn right.", "move forward": "I move forward."}


class Episode(Protocol):
    """What the expert reads of a live BabyAI episode."""

    item_id: str | None
    view: View

    @property
    def mission(self) -> str: ...

    @property
    def pose(self) -> Pose:
        """The agent's pose. A policy can track it by counting its own moves."""
        ...

    def available_actions(self) -> list[str]: ...

    def moves_by_action(self) -> dict[str, Moves]: ...


class Navigator:
    """Decides the next action towards a cell or a set of poses. Raises ExpertStuck where no path leads there."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self.map = ExploredMap(episode.pose)

    # --- what is known --------------------------------------------------------------------------------------------
    def update_map(self) -> None:
        self.map.update(self._episode.view, self._episode.pose)

    def nearest_matching(self, description: ObjectDescription) -> Cell | None:
        """The cell of the nearest known object that fits a description, preferably one with a free path to it."""
        cells = self.map.cells_matching(description)
        nearest = self.nearest(cells, self.map.shortest_paths()) or self.nearest(cells, self.map.shortest_paths(through_objects=True))
        return nearest or min(cells, default=None)

    def nearest(self, cells: list[Cell], paths: ShortestPaths) -> Cell | None:
        """The one of `cells` that the agent can face soonest."""
        facing = {cell: self.reachable_poses_facing(cell, paths) for cell in cells}
        reachable = [(min(paths[pose][0] for pose in poses), cell) for cell, poses in facing.items() if poses]
        return min(reachable, default=(0, None))[1]

    def reachable_poses_facing(self, cell: Cell, paths: ShortestPaths) -> set[Pose]:
        poses = {(neighbor(cell, heading, -1), heading) for heading in range(4)}
        return {pose for pose in poses if pose in paths}

    def doors(self, state: str) -> list[Cell]:
        """The cells of the known doors that are open, closed or locked."""
        return [cell for cell, content in self.map.cells.items() if content is not None and content.state == state]

    def visible_at(self, cell: Cell) -> VisibleObject | None:
        offset = offset_from(self.map.pose, cell)
        return next((visible for visible in self._episode.view.objects if visible.offset == offset), None)

    # --- decisions ------------------------------------------------------------------------------------------------
    def approach(self, cell: Cell) -> Decision:
        """A step towards facing a cell that no single action reaches yet."""
        return self.walk(self.map.poses_facing(cell) or self.map.poses_facing(cell, through_objects=True), self.location_sentence(cell))

    def walk(self, goals: set[Pose], reason: str, via_objects: bool = False) -> Decision:
        """The available walk that leaves the fewest moves to one of `goals`; clears the path where none is free.

        "go to" an object on the way would save rounds, but it distracts a reader: it is used only with `via_objects`.
        """
        distances = self.map.distances_to(goals)
        pose = self.map.pose
        if pose not in distances:
            return self.clear_path(goals, reason)
        best: tuple[int, str] | None = None
        for action, moves in self._episode.moves_by_action().items():
            if not set(moves) <= {LEFT, RIGHT, FORWARD} or (action.startswith("go to ") and not via_objects):
                continue
            remaining = distances.get(pose_after(pose, moves))
            if remaining is not None and (best is None or remaining < best[0]):
                best = (remaining, action)
        if best is None or best[0] >= distances[pose]:
            raise ExpertStuck(f"{self._episode.item_id}: no action leads closer to the goal from {pose}")
        action = best[1]
        if action in WALK_SENTENCES:
            return f"{reason} {WALK_SENTENCES[action]}", action
        verb, label = ("go through", action[11:]) if action.startswith("go through ") else ("go to", action[6:])
        return f"{reason} I see {label}. I {verb} it.", action

    def clear_path(self, goals: set[Pose], reason: str) -> Decision:
        """Carry off the first object on the path to `goals`."""
        path = self._path_through_objects(goals)
        obstacle = next((cell for cell in reversed(path) if not self.map.is_walkable(cell)), None)
        if obstacle is None:
            raise ExpertStuck(f"{self._episode.item_id}: no path, not even by moving objects away")
        if self._episode.view.carrying is not None:
            return self.drop_carried(goals)
        visible = self.visible_at(obstacle)
        if visible and f"pickup {visible.label}" in self._episode.available_actions():
            return f"{reason} I see {visible.label} in the way. I pick it up.", f"pickup {visible.label}"
        goals = self.map.poses_facing(obstacle)
        if self.map.pose in goals or self.map.pose not in self.map.distances_to(goals):
            raise ExpertStuck(f"{self._episode.item_id}: cannot reach the obstacle at {obstacle}")
        return self.walk(goals, reason)

    def drop_carried(self, goals: set[Pose]) -> Decision:
        """Put the carried object down at the nearest place that is not next to a door and does not block the path to `goals`."""
        carried = self._episode.view.carrying
        assert carried is not None
        paths = self.map.shortest_paths()
        # Where the path to the goals is blocked already, the cells on it stay free.
        path = set() if goals & paths.keys() else set(self._path_through_objects(goals))
        for cell, heading in paths:
            ahead = neighbor(cell, heading)
            if self.map.cells.get(cell) is not None or not self._is_free_and_away_from_doors(ahead) or ahead in path:
                continue
            if not path and goals and self.map.would_block(ahead, goals):
                continue
            if self.map.pose == (cell, heading):
                return f"I carry the {carried.name}. I need a free hand. I drop it.", "drop"
            return self.walk({(cell, heading)}, f"I carry the {carried.name}. I need a place to drop it.")
        raise ExpertStuck(f"{self._episode.item_id}: no place to put the {carried.name} down")

    def location_sentence(self, cell: Cell) -> str:
        """The observation's own sentence on an object in view; its rough direction where it is only remembered."""
        visible = self.visible_at(cell)
        if visible:
            return f"I see {visible.label} {visible.location_text}."
        ahead, right = offset_from(self.map.pose, cell)
        side = ("ahead of me" if ahead > 0 else "behind me") if abs(ahead) >= abs(right) else "to my right" if right > 0 else "to my left"
        return f"The {self.map.object_at(cell).name} is {side}."

    def _path_through_objects(self, goals: set[Pose]) -> list[Cell]:
        """The cells from the nearest of `goals` back to the agent, past as few objects as possible; empty where there is no path."""
        paths = self.map.shortest_paths(through_objects=True)
        pose = next((pose for pose in paths if pose in goals), None)
        cells = []
        while pose is not None:
            cells.append(pose[0])
            pose = paths[pose][1]
        return cells

    def _is_free_and_away_from_doors(self, cell: Cell) -> bool:
        cells = self.map.cells
        if cell not in cells or cells[cell] is not None:
            return False
        around = [cells.get(neighbor(cell, side)) for side in range(4)]
        return not any(content is not None and content.kind == "door" for content in around)

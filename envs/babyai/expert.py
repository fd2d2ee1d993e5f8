"""The scripted BabyAI expert: a policy with a map of its views, which states its subgoal, what it sees and what it does.

Invariant: each decision follows from the mission and the views at the ends of its turns; it reads nothing else of the environment.
A thought is a few fixed sentences in the words of the observation: "I must <subgoal>. [<what it takes>.] <what is seen>. I <act>."
"""

from __future__ import annotations

from envs.babyai.explored_map import ShortestPaths
from envs.babyai.geometry import Cell, Pose, neighbor
from envs.babyai.mission import ObjectDescription, Subgoal, key_for, parse_mission
from envs.babyai.navigation import WALK_SENTENCES, Decision, Episode, Navigator
from envs.babyai.observation import GridObject
from envs.base import ExpertStuck

_MAX_VISITS = 3  # to one pose with the same object in hand and nothing new on the map: beyond that it moves in circles


class BabyAIExpert:
    """The expert of one live episode. Raises ExpertStuck when it moves in circles or nothing is left to try."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._groups = parse_mission(episode.mission)
        self._navigator = Navigator(episode)
        self._map = self._navigator.map
        self._current: Subgoal | None = None
        self._completes_subgoal = False
        """Whether the action just decided on completes the current subgoal."""
        self._visits: dict[tuple[Pose, GridObject | None, int], int] = {}

    def act(self, observation: str) -> tuple[str, str]:
        """The next (thought, action). The expert reads the episode's view, which `observation` is the text of."""
        self._navigator.update_map()
        visit = (self._map.pose, self._episode.view.carrying, len(self._map.cells))
        self._visits[visit] = self._visits.get(visit, 0) + 1
        if self._visits[visit] > _MAX_VISITS:
            raise ExpertStuck(f"{self._episode.item_id}: moves in circles at {self._map.pose}")
        subgoal = self._choose_subgoal()
        self._completes_subgoal = False
        sentences, action = self._pursue(subgoal)
        if self._completes_subgoal:
            self._groups[0].remove(subgoal)
            self._current = None
        return f"I must {subgoal.text}. {sentences}", action

    # --- subgoals -------------------------------------------------------------------------------------------------
    def _choose_subgoal(self) -> Subgoal:
        """The current subgoal: of the first open group, the first one whose target is known, else the first."""
        while self._groups and not self._groups[0]:
            self._groups.pop(0)
        if not self._groups:
            raise ExpertStuck(f"{self._episode.item_id}: every subgoal is done and the mission is not fulfilled")
        if self._current is None:
            known = (subgoal for subgoal in self._groups[0] if self._navigator.nearest_matching(subgoal.target) is not None)
            self._current = next(known, None)
        return self._current or self._groups[0][0]

    def _pursue(self, subgoal: Subgoal) -> Decision:
        if subgoal.verb == "put" and subgoal.next_to is not None:
            return self._put(subgoal.target, subgoal.next_to)
        cell = self._navigator.nearest_matching(subgoal.target)
        if subgoal.verb == "pick up":
            carried = self._episode.view.carrying
            if cell is None and carried is not None and subgoal.target.matches(carried):
                return self._navigator.drop_carried(set())
            return self._pick_up(subgoal.target, completes_subgoal=True)
        if cell is None:
            return self._search(subgoal.target)
        return self._open(cell) if subgoal.verb == "open" else self._go_to(cell)

    def _go_to(self, cell: Cell) -> Decision:
        visible = self._navigator.visible_at(cell)
        if visible and self._is_available(f"go to {visible.label}"):
            self._completes_subgoal = True
            return f"I see {visible.label}. I go to it.", f"go to {visible.label}"
        return self._navigator.approach(cell)

    def _pick_up(self, target: ObjectDescription, completes_subgoal: bool = False) -> Decision:
        """Pick up the nearest object that fits; what is carried is dropped once the cell of that object is known."""
        cell = self._navigator.nearest_matching(target)
        if cell is None:
            return self._search(target)
        if self._episode.view.carrying is not None:
            return self._navigator.drop_carried(self._map.poses_facing(cell, through_objects=True))
        visible = self._navigator.visible_at(cell)
        if visible and self._is_available(f"pickup {visible.label}"):
            self._completes_subgoal = completes_subgoal
            return f"I see {visible.label}. I pick it up.", f"pickup {visible.label}"
        return self._navigator.approach(cell)

    def _open(self, cell: Cell, completes_subgoal: bool = True) -> Decision:
        door, visible = self._map.object_at(cell), self._navigator.visible_at(cell)
        carried = self._episode.view.carrying
        if door.state == "locked" and (carried is None or not key_for(door).matches(carried)):
            if self._is_blocked_by_objects(cell):
                return self._navigator.clear_path(self._map.poses_facing(cell, through_objects=True), f"I need the {door.name}.")
            key = key_for(door)
            sentences, action = self._pick_up(key)
            return (sentences if carried else f"The {door.name} needs {key.text}. {sentences}"), action
        if visible and door.state == "open" and visible.offset == (1, 0):
            return f"The {visible.label} is open. I close it to open it again.", "toggle"
        if visible and self._is_available(f"toggle and go through {visible.label}"):
            self._completes_subgoal = completes_subgoal
            with_key = f"I carry {key_for(door).text}. " if door.state == "locked" else ""
            return f"{with_key}I see {visible.label}. I open it.", f"toggle and go through {visible.label}"
        return self._navigator.approach(cell)

    def _put(self, target: ObjectDescription, next_to: ObjectDescription) -> Decision:
        carried = self._episode.view.carrying
        if carried is None or not target.matches(carried):
            return self._pick_up(target)
        fixed = self._navigator.nearest_matching(next_to)
        if fixed is None:
            return self._search(next_to)
        adjacent = {neighbor(fixed, side) for side in range(4)}
        free = {cell for cell in adjacent if cell in self._map.cells and self._map.cells[cell] is None}
        goals = {pose for cell in free for pose in self._map.poses_facing(cell)}
        if self._map.pose in goals:
            self._completes_subgoal = True
            return "The place in front of me is next to it. I drop it.", "drop"
        return self._navigator.walk(goals, self._navigator.location_sentence(fixed), via_objects=True)

    # --- exploration ----------------------------------------------------------------------------------------------
    def _search(self, target: ObjectDescription) -> Decision:
        """Look around (left first); unlock a door; go through the nearest closed one; go where a view adds cells; else `_search_harder`."""
        cell, heading = self._map.pose
        reason = f"I do not see {target.text}."
        if self._map.cells[cell] is None:
            for turn, action in ((-1, "turn left"), (1, "turn right"), (2, "turn left")):
                if self._map.reveals_cells((cell, (heading + turn) % 4)):
                    return f"{reason} {WALK_SENTENCES[action]}", action
        paths = self._map.shortest_paths()
        unlock = self._unlock(paths)
        if unlock is not None:
            return unlock
        door = self._navigator.nearest(self._navigator.doors("closed"), paths)
        if door is not None:
            sentences, action = self._open(door, completes_subgoal=False)
            return f"{reason} {sentences}", action
        for include_walls in (False, True):
            lookout = next((pose for pose in paths if self._map.reveals_cells(pose, include_walls)), None)
            if lookout is not None:
                return self._navigator.walk({lookout}, reason)
        return self._search_harder(target, reason, paths)

    def _unlock(self, paths: ShortestPaths) -> Decision | None:
        """The next act towards a reachable locked door whose key is in hand, or else known; None where there is no such door."""
        doors = self._navigator.doors("locked")
        carried = self._episode.view.carrying
        keys = {door: key_for(self._map.object_at(door)) for door in doors}
        key_in_hand = [door for door in doors if carried is not None and keys[door].matches(carried)]
        key_known = [door for door in doors if self._navigator.nearest(self._map.cells_matching(keys[door]), paths) is not None]
        door = self._navigator.nearest(key_in_hand, paths) or self._navigator.nearest(key_known, paths)
        return None if door is None else self._open(door, completes_subgoal=False)

    def _search_harder(self, target: ObjectDescription, reason: str, paths: ShortestPaths) -> Decision:
        """Everything within free reach has been seen: clear the path to the rest, then open boxes."""
        blocked = self._map.shortest_paths(through_objects=True)
        lookout = next((pose for pose in blocked if self._map.cells.get(pose[0]) is None and self._map.reveals_cells(pose)), None)
        if lookout is not None:
            return self._navigator.clear_path({lookout}, reason)
        doors = [*self._navigator.doors("closed"), *self._navigator.doors("locked")]
        door = self._navigator.nearest([door for door in doors if not self._navigator.reachable_poses_facing(door, paths)], blocked)
        if door is not None:
            return self._navigator.clear_path(self._navigator.reachable_poses_facing(door, blocked), reason)
        boxes = [cell for cell, content in self._map.cells.items() if content is not None and content.kind == "box"]
        box = self._navigator.nearest(boxes, paths)
        if box is None:
            raise ExpertStuck(f"{self._episode.item_id}: nowhere left to look for {target.text}")
        visible = self._navigator.visible_at(box)
        if visible and visible.offset == (1, 0):
            return f"{reason} It may be in {visible.label}. I open it.", "toggle"
        if visible and self._is_available(f"go to {visible.label}"):
            return f"{reason} It may be in {visible.label}. I go to it.", f"go to {visible.label}"
        sentences, action = self._navigator.approach(box)
        return f"{reason} It may be in a box. {sentences}", action

    def _is_blocked_by_objects(self, cell: Cell) -> bool:
        """Whether only a path past portable objects leads to a cell."""
        return not self._navigator.reachable_poses_facing(cell, self._map.shortest_paths()) and bool(
            self._navigator.reachable_poses_facing(cell, self._map.shortest_paths(through_objects=True))
        )

    def _is_available(self, action: str) -> bool:
        return action in self._episode.available_actions()

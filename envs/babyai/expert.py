"""The scripted BabyAI expert: a player with a memory of its views, who says what it wants, what it sees and what it does.

Invariant: each choice follows from the mission and the views at the ends of its turns; it never looks into the world. The thoughts are
a few sentence frames over the words of the observation: "I must <part>. [<what it takes>.] <what is seen>. I <act>."
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envs.babyai.memory import Memory, Pose, Walks, after, relative, step
from envs.babyai.mission import Part, Wanted, key_for, parts_of
from envs.babyai.view import FORWARD, LEFT, RIGHT, Place, Sight, Thing
from envs.base import ExpertStuck

if TYPE_CHECKING:
    from envs.babyai.environment import BabyAI

Move = tuple[str, str]
"""(what is seen and done, in words; the action)"""

_REPEATS = 3  # the same pose and hands, with nothing learnt, this often: it goes in circles
_WALKS = {"turn left": "I turn left.", "turn right": "I turn right.", "move forward": "I move forward."}


class Guide:
    """The expert bound to one live episode. Raises ExpertStuck when it runs in circles or nothing is left to try."""

    def __init__(self, env: BabyAI) -> None:
        self._env = env
        self._groups = parts_of(env.world.mission)
        self._memory = Memory(self._pose())
        self._focus: Part | None = None
        self._finishing = False
        self._visits: dict[tuple[Pose, Thing | None, int], int] = {}

    def act(self, observation: str) -> tuple[str, str]:
        """The next (thought, action); `observation` is read from the environment's view, of which it is the text."""
        memory = self._memory
        memory.update(self._env.view, self._pose())
        visit = (memory.pose, self._env.view.carrying, len(memory.cells))
        self._visits[visit] = self._visits.get(visit, 0) + 1
        if self._visits[visit] > _REPEATS:
            raise ExpertStuck(f"{self._env.item_id}: in circles at {memory.pose}")
        part = self._choose()
        self._finishing = False
        words, action = self._pursue(part)
        if self._finishing:
            self._groups[0].remove(part)
            self._focus = None
        return f"I must {part.words}. {words}", action

    # --- what to do -----------------------------------------------------------------------------------------------
    def _choose(self) -> Part:
        """The part in hand: of those whose turn it is, the first one whose thing is known, else the first."""
        while self._groups and not self._groups[0]:
            self._groups.pop(0)
        if not self._groups:
            raise ExpertStuck(f"{self._env.item_id}: every part is done and the goal is not reached")
        if self._focus is None:
            self._focus = next((part for part in self._groups[0] if self._nearest(part.wanted) is not None), None)
        return self._focus or self._groups[0][0]

    def _pursue(self, part: Part) -> Move:
        if part.verb == "put" and part.beside is not None:
            return self._put(part.wanted, part.beside)
        cell = self._nearest(part.wanted)
        if part.verb == "pick up":
            carried = self._env.view.carrying
            if cell is None and carried is not None and part.wanted.fits(carried):
                return self._free_hands(set())
            return self._take(part.wanted, final=True)
        if cell is None:
            return self._seek(part.wanted)
        return self._open(cell) if part.verb == "open" else self._go(cell)

    def _go(self, cell: Place) -> Move:
        sight, actions = self._sight(cell), self._env.available_actions()
        if sight and f"go to {sight.label}" in actions:
            self._finishing = True
            return f"I see {sight.label}. I go to it.", f"go to {sight.label}"
        return self._approach(cell)

    def _take(self, wanted: Wanted, final: bool = False) -> Move:
        """Pick up the nearest thing that fits; the hands are free, or are freed once it is known where it is."""
        cell = self._nearest(wanted)
        if cell is None:
            return self._seek(wanted)
        if self._env.view.carrying is not None:
            return self._free_hands(self._memory.facing(cell, through=True))
        sight = self._sight(cell)
        if sight and f"pickup {sight.label}" in self._env.available_actions():
            self._finishing = final
            return f"I see {sight.label}. I pick it up.", f"pickup {sight.label}"
        return self._approach(cell)

    def _open(self, cell: Place, final: bool = True) -> Move:
        door, sight = self._memory.cells[cell], self._sight(cell)
        assert door is not None
        carried = self._env.view.carrying
        if door.state == "locked" and (carried is None or not key_for(door).fits(carried)):
            if not self._ends(cell, self._memory.walks()) and self._ends(cell, self._memory.walks(through=True)):
                return self._clear(self._memory.facing(cell, through=True), f"I need the {door.name}.")
            key = key_for(door)
            words, action = self._take(key)
            return (words if carried else f"The {door.name} needs {key.words}. {words}"), action
        if sight and door.state == "open" and sight.place == (1, 0):
            return f"The {sight.label} is open. I close it to open it again.", "toggle"
        if sight and f"toggle and go through {sight.label}" in self._env.available_actions():
            self._finishing = final
            with_key = f"I carry {key_for(door).words}. " if door.state == "locked" else ""
            return f"{with_key}I see {sight.label}. I open it.", f"toggle and go through {sight.label}"
        return self._approach(cell)

    def _put(self, wanted: Wanted, beside: Wanted) -> Move:
        carried = self._env.view.carrying
        if carried is None or not wanted.fits(carried):
            return self._take(wanted)
        fixed = self._nearest(beside)
        if fixed is None:
            return self._seek(beside)
        spots = {step(fixed, side) for side in range(4)}
        spots = {spot for spot in spots if spot in self._memory.cells and self._memory.cells[spot] is None}
        ends = {pose for spot in spots for pose in self._memory.facing(spot)}
        if self._memory.pose in ends:
            self._finishing = True
            return "The place in front of me is next to it. I drop it.", "drop"
        return self._walk(ends, self._whereabouts(fixed), by_things=True)

    def _free_hands(self, ends: set[Pose]) -> Move:
        """Put down what is carried at the nearest place that is not before a door and does not bar the way to `ends`."""
        memory, carried = self._memory, self._env.view.carrying
        assert carried is not None
        way = set() if ends & memory.walks().keys() else set(self._way(ends))  # barred already: keep the way to be cleared
        for cell, heading in memory.walks():
            spot = step(cell, heading)
            if memory.cells.get(cell) is not None or not self._out_of_the_way(spot) or spot in way:
                continue
            if not way and ends and memory.cut_off_by(spot, ends):
                continue
            if memory.pose == (cell, heading):
                return f"I carry the {carried.name}. I need a free hand. I drop it.", "drop"
            return self._walk({(cell, heading)}, f"I carry the {carried.name}. I need a place to drop it.")
        raise ExpertStuck(f"{self._env.item_id}: no place to put the {carried.name} down")

    # --- looking for something ------------------------------------------------------------------------------------
    def _seek(self, wanted: Wanted) -> Move:
        """Look around (left first); unlock; go through the nearest closed door; go where there is more to see; then try harder."""
        memory = self._memory
        cell, heading = memory.pose
        lead = f"I do not see {wanted.words}."
        if memory.cells[cell] is None:
            for turn, action in ((-1, "turn left"), (1, "turn right"), (2, "turn left")):
                if memory.reveals((cell, (heading + turn) % 4)):
                    return f"{lead} {_WALKS[action]}", action
        walks = memory.walks()
        unlock = self._unlock(walks)
        if unlock is not None:
            return unlock
        door = self._closest(self._doors("closed"), walks)
        if door is not None:
            return self._through(door, lead)
        for walls in (False, True):
            lookout = next((pose for pose in walks if memory.reveals(pose, walls)), None)
            if lookout is not None:
                return self._walk({lookout}, lead)
        return self._try_harder(wanted, lead, walks)

    def _unlock(self, walks: Walks) -> Move | None:
        """The next act towards a locked door that can be reached and whose key is in hand or known, if there is one."""
        doors = self._doors("locked")
        carried = self._env.view.carrying
        ready = [cell for cell in doors if carried is not None and key_for(self._known(cell)).fits(carried)]
        keyed = [cell for cell in doors if self._closest(self._memory.all(key_for(self._known(cell))), walks) is not None]
        door = self._closest(ready, walks) or self._closest(keyed, walks)
        return None if door is None else self._open(door, final=False)

    def _try_harder(self, wanted: Wanted, lead: str, walks: Walks) -> Move:
        """Everything open has been looked at: clear the way to what is not, then open boxes."""
        blocked = self._memory.walks(through=True)
        beyond = next((pose for pose in blocked if self._memory.cells.get(pose[0]) is None and self._memory.reveals(pose)), None)
        if beyond is not None:
            return self._clear({beyond}, lead)
        behind = [cell for state in ("closed", "locked") for cell in self._doors(state) if not self._ends(cell, walks)]
        door = self._closest(behind, blocked)
        if door is not None:
            return self._clear(self._ends(door, blocked), lead)
        box = self._closest([cell for cell, thing in self._memory.cells.items() if thing is not None and thing.kind == "box"], walks)
        if box is None:
            raise ExpertStuck(f"{self._env.item_id}: nowhere left to look for {wanted.words}")
        sight = self._sight(box)
        if sight and sight.place == (1, 0):
            return f"{lead} It may be in {sight.label}. I open it.", "toggle"
        if sight and f"go to {sight.label}" in self._env.available_actions():
            return f"{lead} It may be in {sight.label}. I go to it.", f"go to {sight.label}"
        words, action = self._approach(box)
        return f"{lead} It may be in a box. {words}", action

    def _through(self, door: Place, lead: str) -> Move:
        words, action = self._open(door, final=False)
        return f"{lead} {words}", action

    # --- ways -----------------------------------------------------------------------------------------------------
    def _approach(self, cell: Place) -> Move:
        """A step on the way to face a cell that one action does not reach yet."""
        return self._walk(self._memory.facing(cell) or self._memory.facing(cell, through=True), self._whereabouts(cell))

    def _walk(self, ends: set[Pose], lead: str, by_things: bool = False) -> Move:
        """The available walk that leaves the fewest moves to one of `ends`; clears the way where there is none.

        Going up to things on the way saves rounds but distracts a reader: it is left to `by_things`.
        """
        far = self._memory.distances(ends)
        here = self._memory.pose
        if here not in far:
            return self._clear(ends, lead)
        best: tuple[int, str] | None = None
        for action, moves in self._env.moves().items():
            if not set(moves) <= {LEFT, RIGHT, FORWARD} or (action.startswith("go to ") and not by_things):
                continue
            left = far.get(after(here, moves))
            if left is not None and (best is None or left < best[0]):
                best = (left, action)
        if best is None or best[0] >= far[here]:
            raise ExpertStuck(f"{self._env.item_id}: no way on from {here}")
        action = best[1]
        if action in _WALKS:
            return f"{lead} {_WALKS[action]}", action
        verb, label = ("go through", action[11:]) if action.startswith("go through ") else ("go to", action[6:])
        return f"{lead} I see {label}. I {verb} it.", action

    def _clear(self, ends: set[Pose], lead: str) -> Move:
        """Carry off the first thing on the way to `ends`."""
        memory = self._memory
        way = self._way(ends)
        blocker = next((cell for cell in reversed(way) if not memory.free(cell)), None)
        if blocker is None:
            raise ExpertStuck(f"{self._env.item_id}: no way on, with or without moving things")
        if self._env.view.carrying is not None:
            return self._free_hands(ends)
        sight = self._sight(blocker)
        if sight and f"pickup {sight.label}" in self._env.available_actions():
            return f"{lead} I see {sight.label} in the way. I pick it up.", f"pickup {sight.label}"
        ends = memory.facing(blocker)
        if memory.pose in ends or memory.pose not in memory.distances(ends):
            raise ExpertStuck(f"{self._env.item_id}: cannot get at what is in the way at {blocker}")
        return self._walk(ends, lead)

    def _way(self, ends: set[Pose]) -> list[Place]:
        """The cells from the nearest of `ends` back to here, over as few things as possible; empty where there is no way."""
        walks = self._memory.walks(through=True)
        pose = next((pose for pose in walks if pose in ends), None)
        way = []
        while pose is not None:
            way.append(pose[0])
            pose = walks[pose][1]
        return way

    # --- what is known --------------------------------------------------------------------------------------------
    def _pose(self) -> Pose:
        """Where it stands: what a player can count from its own moves is read off the world instead."""
        world = self._env.world
        return (int(world.agent_pos[0]), int(world.agent_pos[1])), int(world.agent_dir)

    def _known(self, cell: Place) -> Thing:
        thing = self._memory.cells[cell]
        assert thing is not None
        return thing

    def _nearest(self, wanted: Wanted) -> Place | None:
        cells = self._memory.all(wanted)
        found = self._closest(cells, self._memory.walks()) or self._closest(cells, self._memory.walks(through=True))
        return found or min(cells, default=None)

    def _closest(self, cells: list[Place], walks: Walks) -> Place | None:
        reached = [(self._cost(cell, walks), cell) for cell in cells if self._ends(cell, walks)]
        return min(reached, default=(0, None))[1]

    def _ends(self, cell: Place, walks: Walks) -> set[Pose]:
        poses = {(step(cell, heading, -1), heading) for heading in range(4)}
        return {pose for pose in poses if pose in walks}

    def _cost(self, cell: Place, walks: Walks) -> int:
        return min(walks[pose][0] for pose in self._ends(cell, walks))

    def _doors(self, state: str) -> list[Place]:
        return [cell for cell, thing in self._memory.cells.items() if thing is not None and thing.state == state]

    def _out_of_the_way(self, cell: Place) -> bool:
        cells = self._memory.cells
        if cell not in cells or cells[cell] is not None:
            return False
        around = [cells.get(step(cell, side)) for side in range(4)]
        return not any(thing is not None and thing.kind == "door" for thing in around)

    def _sight(self, cell: Place) -> Sight | None:
        place = relative(self._memory.pose, cell)
        return next((sight for sight in self._env.view.sights if sight.place == place), None)

    def _whereabouts(self, cell: Place) -> str:
        """The observation's own sentence on a thing in view; roughly where it is remembered otherwise."""
        sight = self._sight(cell)
        if sight:
            return f"I see {sight.label} {sight.where}."
        ahead, right = relative(self._memory.pose, cell)
        side = ("ahead of me" if ahead > 0 else "behind me") if abs(ahead) >= abs(right) else "to my right" if right > 0 else "to my left"
        return f"The {self._known(cell).name} is {side}."

"""ALFWorld's games in TextWorld: ours as a PDDL problem, played by TextWorld with the logic and grammar files of alfworld's wheel.

The facts of the problem follow alfworld's tables (what can be heated, sliced, ...); names come out as ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.alfworld.games import Game
from envs.alfworld.simulator import OPENABLE, kind_of


class TextWorldGame:
    """One episode in TextWorld: `first` is the first text, `commands` the admissible ones; `execute` gives (feedback, won)."""

    def __init__(self, game: Game, folder: Path) -> None:
        import alfworld
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs import PddlEnv

        logic = Path(alfworld.__file__).parent / "data"
        grammar = (logic / "alfred.twl2").read_text(encoding="utf-8").replace("UNKNOWN GOAL", game.goal)
        game_file = {"pddl_domain": (logic / "alfred.pddl").read_text(encoding="utf-8"), "grammar": grammar, "pddl_problem": problem(game)}
        file = folder / "game.tw-pddl"
        file.write_text(json.dumps(game_file), encoding="utf-8")
        self._env = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
        self._env.load(str(file))
        state = self._env.reset()
        self.first: str = state.feedback.removeprefix("-= Welcome to TextWorld, ALFRED! =-").strip()
        self.commands = _commands(state)

    def execute(self, command: str) -> tuple[str, bool]:
        state, _, _ = self._env.step(command)
        self.commands = _commands(state)
        return " ".join(state.feedback.split()), bool(state["won"])

    def close(self) -> None:
        self._env.close()


def problem(game: Game) -> str:
    """The game as a problem of alfworld's domain. Its library of goals has our task types under the same names."""
    from alfworld.gen import constants, goal_library

    proper = {name.lower(): name for name in (*constants.OBJECTS_SET, *constants.RECEPTACLES)}
    able = {name.lower(): {kind.lower() for kind in kinds} for name, kinds in constants.VAL_ACTION_OBJECTS.items()}
    movable = {name.lower() for name in constants.MOVABLE_RECEPTACLES_SET}
    inside = {name.lower(): values for name, values in constants.VAL_RECEPTACLE_OBJECTS.items()}
    things = [(thing, receptacle) for receptacle, things in game.contents.items() for thing in things]
    kinds = sorted({kind_of(thing) for thing, _ in things} | {"knife", "butterknife"})
    places = sorted({kind_of(receptacle) for receptacle in game.contents} | {"sinkbasin", "microwave", "fridge"})

    def facts() -> Iterator[str]:
        yield "(atLocation agent1 loc0)"
        for place in places:
            yield from (f"(canContain {place}Type {kind.lower()}Type)" for kind in inside[place] if kind.lower() in kinds)
        for number, receptacle in enumerate(game.contents, 1):
            name = _mangled(receptacle)
            yield f"(receptacleType {name} {kind_of(receptacle)}Type)"
            yield f"(receptacleAtLocation {name} loc{number})"
            if kind_of(receptacle) in OPENABLE:
                yield f"(openable {name})"
            for thing in game.contents[receptacle]:
                yield f"(inReceptacle {_mangled(thing)} {name})"
                yield f"(objectAtLocation {_mangled(thing)} loc{number})"
        for thing, _ in things:
            name, kind = _mangled(thing), kind_of(thing)
            yield f"(objectType {name} {kind}Type)"
            if kind in able["toggleable"]:
                yield f"(toggleable {name})"
            else:
                yield f"(pickupable {name})"
            if kind in movable:
                yield f"(isReceptacleObject {name})"
            yield from (f"({what} {name})" for what in ("cleanable", "heatable", "coolable", "sliceable") if kind in able[what])

    assert set(kinds) <= set(proper), sorted(set(kinds) - set(proper))
    objects = [
        "agent1 - agent",
        *(f"loc{number} - location" for number in range(len(game.contents) + 1)),
        *(f"{_mangled(receptacle)} - receptacle" for receptacle in game.contents),
        *(f"{_mangled(thing)} - object" for thing, _ in things),
        *(f"{kind}Type - otype" for kind in kinds),
        *(f"{place}Type - rtype" for place in places),
    ]
    goal = goal_library.gdict[game.task_type]["pddl"].replace("#", "-")
    filled = goal.format(obj=game.object_kind, recep=game.target_kind, toggle=game.target_kind)
    return f"(define (problem p) (:domain alfred) (:objects {' '.join(objects)}) (:init {' '.join(facts())}) {filled}"


def _mangled(name: str) -> str:
    """An id that alfworld's naming turns into `name`: it numbers the sorted ids of a kind from the highest number down."""
    kind, _, number = name.rpartition(" ")
    spelled = {"sinkbasin": "sink", "bathtubbasin": "bathtub"}.get(kind, kind)
    return f"{spelled}_bar_{999 - int(number):03d}" + ("_bar_basin" if spelled != kind else "")


def _commands(state: Any) -> set[str]:
    return set(state["admissible_commands"])

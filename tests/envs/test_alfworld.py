"""ALFWorld: the household's rules, both wordings, the six kinds of task, and rooms of their own for eval."""

from __future__ import annotations

import random

import pytest

from envs.alfworld import ALFWorld
from envs.alfworld.environment import chosen, chosen_game
from envs.alfworld.games import COOL, HEAT, LIGHT, TASK_TYPES, TWO, game
from envs.alfworld.generate import choose
from envs.alfworld.simulator import NOTHING, World
from envs.alfworld.tables import tables


def kitchen() -> World:
    found = tables()
    contents = {"fridge 1": ["egg 1"], "microwave 1": [], "sinkbasin 1": [], "countertop 1": ["mug 1", "egg 2"], "coffeemachine 1": []}
    return World(contents, found.fits, found.able)


def bedroom() -> World:
    found = tables()
    return World({"desk 1": ["desklamp 1", "pen 1"], "drawer 1": ["pen 2"], "bed 1": []}, found.fits, found.able)


def do(world: World, *commands: str) -> list[str]:
    return [world.do(command) for command in commands]


def test_a_closed_place_shows_and_gives_nothing_until_it_is_opened() -> None:
    world = kitchen()
    assert do(world, "go to fridge 1", "take egg 1 from fridge 1", "open fridge 1", "take egg 1 from fridge 1", "close fridge 1") == [
        "You arrive at fridge 1. The fridge 1 is closed.",
        NOTHING,
        "You open the fridge 1. The fridge 1 is open. In it, you see an egg 1.",
        "You pick up the egg 1 from the fridge 1.",
        "You close the fridge 1.",
    ]


def test_both_wordings_put() -> None:
    for words in ("move mug 1 to coffeemachine 1", "put mug 1 in/on coffeemachine 1", "put mug 1 in coffeemachine 1"):
        world = kitchen()
        do(world, "go to countertop 1", "take mug 1 from countertop 1", "go to coffeemachine 1")
        assert world.do(words) == "You move the mug 1 to the coffeemachine 1."
        assert world.contents["coffeemachine 1"] == ["mug 1"]


def test_things_go_only_where_they_fit_and_hands_hold_one_thing() -> None:
    world = kitchen()
    do(world, "go to countertop 1", "take egg 2 from countertop 1")
    assert do(world, "take mug 1 from countertop 1", "go to coffeemachine 1", "move egg 2 to coffeemachine 1")[::2] == [NOTHING, NOTHING]


def test_heating_cooling_and_cleaning_need_holding_only_and_heat_undoes_cold() -> None:
    world = kitchen()
    do(world, "go to countertop 1", "take egg 2 from countertop 1", "go to microwave 1")
    assert world.do("heat egg 2 with microwave 1") == "You heat the egg 2 using the microwave 1."
    assert world.do("examine egg 2") == "This is a hot egg 2."
    assert do(world, "go to fridge 1", "cool egg 2 with fridge 1", "examine egg 2")[-1] == "This is a cold egg 2."
    assert do(world, "go to sinkbasin 1", "clean egg 2 with sinkbasin 1", "examine egg 2")[-1] == "This is a cool and clean egg 2."
    assert world.do("heat egg 2 with sinkbasin 1") == NOTHING


def test_where_one_is_one_cannot_go_and_only_what_is_held_is_examined() -> None:
    world = bedroom()
    do(world, "go to desk 1")
    assert do(world, "go to desk 1", "examine pen 1", "examine desk 1") == [
        NOTHING,
        NOTHING,
        "On the desk 1, you see a desklamp 1, and a pen 1.",
    ]


def test_a_lamp_is_turned_on_and_stays_where_it_is() -> None:
    world = bedroom()
    do(world, "go to desk 1")
    assert do(world, "use desklamp 1", "use desklamp 1", "take desklamp 1 from desk 1") == [
        "You turn on the desklamp 1.",
        "You turn on the desklamp 1.",
        NOTHING,
    ]


def test_a_knife_slices_what_lies_there_and_what_is_hollow_is_looked_into() -> None:
    world = kitchen()
    world.contents["countertop 1"].append("knife 1")
    assert do(world, "go to countertop 1", "slice egg 2 with knife 1", "take knife 1 from countertop 1", "slice egg 2 with knife 1")[
        1::2
    ] == [
        NOTHING,
        "You sliced the egg 2 with the knife 1.",
    ]
    do(world, "move knife 1 to countertop 1", "take egg 2 from countertop 1")
    assert world.do("examine egg 2") == "This is a sliced egg 2."
    assert do(world, "go to fridge 1", "cool egg 2 with fridge 1", "examine egg 2")[-1] == "This is a cool sliced egg 2."
    do(world, "go to countertop 1", "move egg 2 to countertop 1", "take mug 1 from countertop 1")
    assert world.do("examine mug 1") == "This is a normal mug 1. In it, you see nothing."


def test_what_is_admissible_is_what_does_something() -> None:
    draw = random.Random(0)
    for index in range(0, 3827, 400):
        world = chosen_game(index).world()
        for _ in range(40):
            commands = world.admissible()
            assert len(set(commands)) == len(commands)
            other = draw.choice([f"go to {world.place or 'nowhere'}", "take mug 9 from desk 9", "open", "heat x with y", "use lamp"])
            assert world.do(other) == NOTHING
            assert world.do(draw.choice(commands)) != NOTHING


def test_every_thing_lies_where_it_fits() -> None:
    fits = tables().fits
    for index in range(0, 3827, 50):
        for receptacle, things in chosen_game(index).contents.items():
            for thing in things:
                kind = thing.rpartition(" ")[0]
                assert kind in fits[receptacle.rpartition(" ")[0]] or kind in ("desklamp", "floorlamp"), (index, receptacle, thing)


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_no_game_is_won_before_it_begins(task_type: str) -> None:
    assert not any(
        game(task_type, number, held_out).won(game(task_type, number, held_out).world()) for number in range(40) for held_out in (0, 1)
    )


def test_a_hot_thing_that_was_cooled_again_is_not_hot() -> None:
    played = next(game(HEAT, number, False) for number in range(200) if game(HEAT, number, False).room == "FloorPlan1")
    world = played.world()
    name = next(name for things in world.contents.values() for name in things if name.startswith(f"{played.thing} "))
    for things in world.contents.values():
        if name in things:
            things.remove(name)
    target = next(receptacle for receptacle in world.contents if receptacle.startswith(f"{played.target} "))
    world.contents[target].append(name)
    world.states[name] = {"cold"}
    assert not played.won(world)
    world.states[name] = {"hot"}
    assert played.won(world)
    assert game(COOL, 0, False).task_type == COOL


def test_two_things_must_lie_in_one_place_and_a_look_needs_the_thing_in_hand() -> None:
    pair = game(TWO, 0, False)
    world = pair.world()
    targets = [name for name in world.contents if name.startswith(f"{pair.target} ")]
    world.contents[targets[0]].append(f"{pair.thing} 98")
    assert not pair.won(world)
    world.contents[targets[0]].append(f"{pair.thing} 99")
    assert pair.won(world)
    look = game(LIGHT, 0, False)
    world = look.world()
    place = next(name for name, things in world.contents.items() if any(thing.startswith(look.target) for thing in things))
    lamp = next(thing for thing in world.contents[place] if thing.startswith(look.target))
    do(world, f"go to {place}", f"use {lamp}")
    assert not look.won(world)
    world.held = f"{look.thing} 1"
    assert look.won(world)


def test_eval_has_rooms_of_its_own() -> None:
    rooms = {
        split: {chosen_game(int(item.item_id.rpartition("_")[2])).room for item in ALFWorld.instructions(split)}
        for split in ("explore", "eval")
    }
    assert len(rooms["eval"]) > 15
    assert rooms["eval"].isdisjoint(rooms["explore"])


def test_the_games_are_those_that_are_chosen_again() -> None:
    training = [entry for entry in chosen() if not entry[2]]
    assert [tuple(entry) for entry in choose(60, False)] == training[:60]
    assert [tuple(entry) for entry in choose(200, True)] == [entry for entry in chosen() if entry[2]]

"""ALFWorld: the simulator's rules, both wordings of a move, the six task types, and the rooms of eval."""

from __future__ import annotations

import random

import pytest

from envs.alfworld import ALFWorld
from envs.alfworld.environment import game_at, selected_games
from envs.alfworld.games import COOL, HEAT, LIGHT, TASK_TYPES, TWO, generate_game
from envs.alfworld.generate import select_games
from envs.alfworld.rooms import room_data
from envs.alfworld.simulator import NOTHING_HAPPENS, Household


def kitchen() -> Household:
    data = room_data()
    contents = {"fridge 1": ["egg 1"], "microwave 1": [], "sinkbasin 1": [], "countertop 1": ["mug 1", "egg 2"], "coffeemachine 1": []}
    return Household(contents, data.allowed_objects, data.kinds_by_property)


def bedroom() -> Household:
    data = room_data()
    return Household({"desk 1": ["desklamp 1", "pen 1"], "drawer 1": ["pen 2"], "bed 1": []}, data.allowed_objects, data.kinds_by_property)


def execute(household: Household, *commands: str) -> list[str]:
    return [household.execute(command) for command in commands]


def test_a_closed_receptacle_must_be_opened_to_see_and_take_its_objects() -> None:
    household = kitchen()
    assert execute(
        household, "go to fridge 1", "take egg 1 from fridge 1", "open fridge 1", "take egg 1 from fridge 1", "close fridge 1"
    ) == [
        "You arrive at fridge 1. The fridge 1 is closed.",
        NOTHING_HAPPENS,
        "You open the fridge 1. The fridge 1 is open. In it, you see an egg 1.",
        "You pick up the egg 1 from the fridge 1.",
        "You close the fridge 1.",
    ]


def test_both_wordings_of_a_move_are_accepted() -> None:
    for words in ("move mug 1 to coffeemachine 1", "put mug 1 in/on coffeemachine 1", "put mug 1 in coffeemachine 1"):
        household = kitchen()
        execute(household, "go to countertop 1", "take mug 1 from countertop 1", "go to coffeemachine 1")
        assert household.execute(words) == "You move the mug 1 to the coffeemachine 1."
        assert household.contents["coffeemachine 1"] == ["mug 1"]


def test_objects_go_only_where_they_fit_and_only_one_is_held() -> None:
    household = kitchen()
    execute(household, "go to countertop 1", "take egg 2 from countertop 1")
    assert execute(household, "take mug 1 from countertop 1", "go to coffeemachine 1", "move egg 2 to coffeemachine 1")[::2] == [
        NOTHING_HAPPENS,
        NOTHING_HAPPENS,
    ]


def test_heating_cooling_and_cleaning_need_holding_only_and_heat_undoes_cold() -> None:
    household = kitchen()
    execute(household, "go to countertop 1", "take egg 2 from countertop 1", "go to microwave 1")
    assert household.execute("heat egg 2 with microwave 1") == "You heat the egg 2 using the microwave 1."
    assert household.execute("examine egg 2") == "This is a hot egg 2."
    assert execute(household, "go to fridge 1", "cool egg 2 with fridge 1", "examine egg 2")[-1] == "This is a cold egg 2."
    assert execute(household, "go to sinkbasin 1", "clean egg 2 with sinkbasin 1", "examine egg 2")[-1] == "This is a cool and clean egg 2."
    assert household.execute("heat egg 2 with sinkbasin 1") == NOTHING_HAPPENS


def test_only_the_held_object_and_the_faced_receptacle_can_be_examined() -> None:
    household = bedroom()
    execute(household, "go to desk 1")
    assert execute(household, "go to desk 1", "examine pen 1", "examine desk 1") == [
        NOTHING_HAPPENS,
        NOTHING_HAPPENS,
        "On the desk 1, you see a desklamp 1, and a pen 1.",
    ]


def test_a_lamp_can_be_turned_on_but_not_taken() -> None:
    household = bedroom()
    execute(household, "go to desk 1")
    assert execute(household, "use desklamp 1", "use desklamp 1", "take desklamp 1 from desk 1") == [
        "You turn on the desklamp 1.",
        "You turn on the desklamp 1.",
        NOTHING_HAPPENS,
    ]


def test_a_held_knife_slices_and_containers_are_described_as_empty() -> None:
    household = kitchen()
    household.contents["countertop 1"].append("knife 1")
    assert execute(
        household, "go to countertop 1", "slice egg 2 with knife 1", "take knife 1 from countertop 1", "slice egg 2 with knife 1"
    )[1::2] == [
        NOTHING_HAPPENS,
        "You sliced the egg 2 with the knife 1.",
    ]
    execute(household, "move knife 1 to countertop 1", "take egg 2 from countertop 1")
    assert household.execute("examine egg 2") == "This is a sliced egg 2."
    assert execute(household, "go to fridge 1", "cool egg 2 with fridge 1", "examine egg 2")[-1] == "This is a cool sliced egg 2."
    execute(household, "go to countertop 1", "move egg 2 to countertop 1", "take mug 1 from countertop 1")
    assert household.execute("examine mug 1") == "This is a normal mug 1. In it, you see nothing."


def test_exactly_the_admissible_commands_have_an_effect() -> None:
    draw = random.Random(0)
    for index in range(0, 3827, 400):
        household = game_at(index).new_household()
        for _ in range(40):
            commands = household.admissible_commands()
            assert len(set(commands)) == len(commands)
            inadmissible = draw.choice(
                [f"go to {household.location or 'nowhere'}", "take mug 9 from desk 9", "open", "heat x with y", "use lamp"]
            )
            assert household.execute(inadmissible) == NOTHING_HAPPENS
            assert household.execute(draw.choice(commands)) != NOTHING_HAPPENS


def test_every_object_is_where_it_fits() -> None:
    allowed_objects = room_data().allowed_objects
    for index in range(0, 3827, 50):
        for receptacle, objects in game_at(index).contents.items():
            for name in objects:
                kind = name.rpartition(" ")[0]
                assert kind in allowed_objects[receptacle.rpartition(" ")[0]] or kind in ("desklamp", "floorlamp"), (
                    index,
                    receptacle,
                    name,
                )


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_no_game_is_won_before_it_begins(task_type: str) -> None:
    assert not any(
        generate_game(task_type, number, held_out).is_won(generate_game(task_type, number, held_out).new_household())
        for number in range(40)
        for held_out in (0, 1)
    )


def test_a_heating_game_needs_the_hot_state_at_the_end() -> None:
    game = next(generate_game(HEAT, number, False) for number in range(200) if generate_game(HEAT, number, False).room == "FloorPlan1")
    household = game.new_household()
    name = next(name for objects in household.contents.values() for name in objects if name.startswith(f"{game.object_kind} "))
    for objects in household.contents.values():
        if name in objects:
            objects.remove(name)
    target = next(receptacle for receptacle in household.contents if receptacle.startswith(f"{game.target_kind} "))
    household.contents[target].append(name)
    household.states[name] = {"cold"}
    assert not game.is_won(household)
    household.states[name] = {"hot"}
    assert game.is_won(household)
    assert generate_game(COOL, 0, False).task_type == COOL


def test_two_objects_must_be_in_one_receptacle_and_a_look_needs_the_object_in_hand() -> None:
    pair = generate_game(TWO, 0, False)
    household = pair.new_household()
    targets = [name for name in household.contents if name.startswith(f"{pair.target_kind} ")]
    household.contents[targets[0]].append(f"{pair.object_kind} 98")
    assert not pair.is_won(household)
    household.contents[targets[0]].append(f"{pair.object_kind} 99")
    assert pair.is_won(household)
    look = generate_game(LIGHT, 0, False)
    household = look.new_household()
    location = next(name for name, objects in household.contents.items() if any(each.startswith(look.target_kind) for each in objects))
    lamp = next(name for name in household.contents[location] if name.startswith(look.target_kind))
    execute(household, f"go to {location}", f"use {lamp}")
    assert not look.is_won(household)
    household.held = f"{look.object_kind} 1"
    assert look.is_won(household)


def test_eval_has_rooms_of_its_own() -> None:
    rooms = {
        split: {game_at(int(item.item_id.rpartition("_")[2])).room for item in ALFWorld.instructions(split)}
        for split in ("explore", "eval")
    }
    assert len(rooms["eval"]) > 15
    assert rooms["eval"].isdisjoint(rooms["explore"])


def test_the_committed_games_are_reproduced() -> None:
    training = [entry for entry in selected_games() if not entry[2]]
    assert [tuple(entry) for entry in select_games(60, False)] == training[:60]
    assert [tuple(entry) for entry in select_games(200, True)] == [entry for entry in selected_games() if entry[2]]

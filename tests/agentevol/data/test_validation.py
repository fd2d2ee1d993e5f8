"""The validation split is disjoint from everything else by id and by text, and stable when the other limits change."""

from __future__ import annotations

from agentevol.data.validation import validation_instructions
from envs.base import Instruction


def instructions(env: str, count: int) -> list[Instruction]:
    return [Instruction(f"{env}_{number}", env, "", "", f"{env}, room {number}") for number in range(count)]


MAZE, WORDLE = instructions("maze", 10), instructions("wordle", 4)
ALL = [*MAZE, *WORDLE]


def ids(items: list[Instruction]) -> list[str]:
    return [item.item_id for item in items]


def test_the_instructions_come_from_the_end_and_fewer_are_the_first_of_more() -> None:
    used = ids(MAZE[:5])
    split = validation_instructions(ALL, ["maze"], 3, used_ids=used)
    assert ids(split) == ["maze_9", "maze_8", "maze_7"]
    assert ids(validation_instructions(ALL, ["maze"], 2, used_ids=used)) == ids(split)[:2]
    assert validation_instructions(ALL, ["maze"], 3, used_ids=ids(MAZE[:2])) == split, "other limits of the splits at the front"


def test_an_environment_with_too_few_gets_what_there_is() -> None:
    split = validation_instructions(ALL, ["maze", "wordle"], 5, used_ids=ids(WORDLE[:3]) + ids(MAZE[:4]))
    assert ids(split) == ["maze_9", "maze_8", "maze_7", "maze_6", "maze_5", "wordle_3"]
    assert validation_instructions(ALL, ["wordle"], None, used_ids=ids(WORDLE)) == []
    assert validation_instructions(ALL, ["maze"], 0, used_ids=[]) == []


def test_an_instruction_with_the_text_of_a_used_or_held_out_one_is_left_out() -> None:
    same_as_used = Instruction("maze_10", "maze", "", "", MAZE[0].text)
    same_as_held_out = Instruction("maze_11", "maze", "", "", "the exam")
    twice = Instruction("maze_12", "maze", "", "", MAZE[9].text)
    held_out = [Instruction("maze_99", "maze", "", "", "the exam"), MAZE[8]]
    split = validation_instructions([*MAZE, same_as_used, same_as_held_out, twice], ["maze"], 3, used_ids=["maze_0"], held_out=held_out)
    assert ids(split) == ["maze_12", "maze_7", "maze_6"]

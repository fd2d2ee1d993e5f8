"""A person plays: `agentevol play`."""

from __future__ import annotations

import io

import pytest

from envs.play import Unplayable, play
from tests.envs.served import PLAIN


def played(name: str, typed: str) -> tuple[int, str]:
    out = io.StringIO()
    return play(name, None, None, io.StringIO(typed), out), out.getvalue()


@pytest.mark.parametrize("name", PLAIN)
def test_a_person_can_play_any_of_them(name: str) -> None:
    code, said = played(name, "?\n!\n")
    assert code in (0, 1)  # a question of BIRD is answered by the expert's first move
    assert "(expert: " in said
    assert " after 1 rounds" in said


def test_a_person_can_play_and_ask_the_expert() -> None:
    code, said = played("maze", "?\n" + "!\n" * 15)
    assert code == 0
    assert {"move left", "move right"} <= {line.removeprefix("> ") for line in said.splitlines()}
    assert "success: reward 1" in said
    code, said = played("maze", "move up\n")
    assert code == 1
    assert "stopped: reward 0 after 1 rounds" in said
    with pytest.raises(Unplayable, match="unknown environment"):
        play("atlantis", None, None)

"""Playing in the terminal: `agentevol play`."""

from __future__ import annotations

import io

import pytest

from envs.play import Unplayable, play
from tests.envs.served import PLAIN


def play_lines(name: str, lines: str) -> tuple[int, str]:
    out = io.StringIO()
    return play(name, None, None, io.StringIO(lines), out), out.getvalue()


@pytest.mark.parametrize("name", PLAIN)
def test_a_person_can_play_every_environment(name: str) -> None:
    code, output = play_lines(name, "?\n!\n")
    assert code in (0, 1)  # BIRD's expert needs one move
    assert "(expert: " in output
    assert " after 1 rounds" in output


def test_a_person_can_play_and_let_the_expert_move() -> None:
    code, output = play_lines("maze", "?\n" + "!\n" * 15)
    assert code == 0
    assert {"move left", "move right"} <= {line.removeprefix("> ") for line in output.splitlines()}
    assert "success: reward 1" in output
    code, output = play_lines("maze", "move up\n")
    assert code == 1
    assert "stopped: reward 0 after 1 rounds" in output
    with pytest.raises(Unplayable, match="unknown environment"):
        play("atlantis", None, None)


class _Lost:
    """An expert whose plan assumes that every action so far was its own."""

    def act(self, observation: str) -> tuple[str, str]:
        raise IndexError("pop from an empty list")


def test_an_expert_that_a_wrong_action_confuses_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.maze.Maze.expert", lambda self: _Lost())
    code, output = play_lines("maze", "move up\n!\nmove left\n")
    assert code == 1
    assert "(the expert has no move after these actions: IndexError: pop from an empty list)" in output
    assert "stopped: reward 0 after 2 rounds" in output


@pytest.mark.parametrize("name", PLAIN)
def test_the_expert_may_be_called_after_wrong_actions(name: str) -> None:
    _, output = play_lines(name, "nonsense\n!\nlook around\n!\nAction: finish with answer: 3\n!\n")
    assert "(the expert has no move" in output or "(expert: " in output or "no success" in output

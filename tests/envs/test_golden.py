"""The golden files enforce the versions of the environments: other texts need a higher version, a higher version needs a new file."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from envs import make, registry
from envs.base import Expert, Instruction, Sizes, TextEnv
from tests.envs import golden


class Doors(TextEnv):
    """Open the door: one step."""

    name = "doors"
    version = 1
    task_types = ("open",)
    sizes = Sizes(instructions=4, eval=2, agent_traj=1, agent_traj_l=2)
    max_rounds = 2
    prompt = "Thought: ... Action: ..."
    reply = "The door is open."

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = tuple(Instruction(f"doors_{number}", "doors", "open", "easy", f"door {number}") for number in range(4))
        return items[:2], items[2:]

    def begin(self, item_id: str) -> str:
        return self.instruction(item_id).text

    def act(self, action: str) -> tuple[str, float, bool]:
        return self.reply, 1.0, True

    def expert(self) -> Expert:
        return Opener()


class Opener:
    def act(self, observation: str) -> tuple[str, str]:
        return "It is closed.", "open"


@pytest.fixture(autouse=True)
def golden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The golden file of version 1, in a folder of its own."""
    monkeypatch.setitem(registry.ENVIRONMENTS, "doors", "tests.envs.test_golden:Doors")
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    return golden.write("doors")


def problem() -> str | None:
    return golden.mismatch("doors", golden.committed("doors"), golden.digests(make("doors")))


def test_the_same_texts_and_version_are_in_order() -> None:
    assert problem() is None


def test_other_texts_need_a_higher_version(monkeypatch: pytest.MonkeyPatch, golden_file: Path) -> None:
    before = golden_file.read_text()
    monkeypatch.setattr(Doors, "reply", "The door is ajar.")
    message = "doors: expert_episodes changed, but its version is still 1. Set version = 2 in the environment's class, then run"
    assert str(problem()).startswith(message)
    with pytest.raises(ValueError, match="Set version = 2"):
        golden.write("doors")
    with pytest.raises(SystemExit, match="Set version = 2"):
        golden.main(["doors"])
    assert golden_file.read_text() == before


@pytest.mark.parametrize("reply", ["The door is open.", "The door is ajar."])
def test_a_higher_version_needs_a_new_file(reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doors, "reply", reply)
    monkeypatch.setattr(Doors, "version", 2)
    assert problem() == "doors: the golden file is not that of version 2. Run `python -m tests.envs.golden doors`"
    golden.main(["doors"])
    assert problem() is None
    assert golden.committed("doors")["version"] == 2


def test_an_environment_without_a_golden_file_needs_one(golden_file: Path) -> None:
    golden_file.unlink()
    assert str(problem()).endswith("Run `python -m tests.envs.golden doors`")


def test_a_text_that_differs_from_play_to_play_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    replies = itertools.cycle(["The door is ajar.", "The door is shut."])
    monkeypatch.setattr(Doors, "act", lambda self, action: (next(replies), 1.0, True))
    golden.main(["--print", "doors"])
    shown = capsys.readouterr().err
    assert "doors: expert_episodes differ between two plays in one process" in shown
    assert '-"The door is ajar."' in shown
    assert '+"The door is shut."' in shown


def test_a_changed_text_is_the_same_in_a_second_play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Doors, "reply", "The door is ajar.")
    golden.main(["--print", "doors"])
    assert capsys.readouterr().err.strip() == "doors: a second play gives the same texts"

"""The expert sets are real episodes, made once, byte for byte the same, and made again when the version of an environment changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from agentevol.data.artifact_folder import MANIFEST, is_complete
from agentevol.data.dataset import read_dataset, read_instructions
from agentevol.data.experts import ExpertFailed, collect, expert_hash, play_expert, predates_versions
from envs.base import Expert
from envs.maze import Maze
from tests.agentevol.counting import Counting

pytestmark = pytest.mark.usefixtures("counting")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_expert_episode_is_recorded_as_a_policy_would_see_it() -> None:
    trajectory = play_expert("counting", Counting.instruction("counting_5"))
    assert [(message.role, message.content, message.loss) for message in trajectory.messages] == [
        ("user", "Count up, one number a round.\n\nCount from 5 to 7!", None),
        ("assistant", "Thought: After 5 comes the next.\nAction: 6", True),
        ("user", "You are at 6.", None),
        ("assistant", "Thought: After 6 comes the next.\nAction: 7", True),
        ("user", "You are at 7.", None),
    ]
    assert (trajectory.reward, trajectory.success, trajectory.rounds, trajectory.status) == (1.0, True, 2, "finished")
    assert (trajectory.policy, trajectory.iteration, trajectory.sample, trajectory.seconds) == ("expert", 0, 0, 0.0)


def test_the_sets_have_the_sizes_of_the_environment_and_nest(tmp_path: Path) -> None:
    datasets = collect(tmp_path, ["counting"])
    assert {name: dataset.rows for name, dataset in datasets.items()} == {"agenttraj": 4, "agenttraj_l": 8, "agenteval": 3, "explore": 9}
    small, large = read_dataset(tmp_path / "agenttraj"), read_dataset(tmp_path / "agenttraj_l")
    assert [trajectory.item_id for trajectory in small] == [trajectory.item_id for trajectory in large][:4]
    assert {trajectory.split for trajectory in small} == {"train"}
    eval_ids = {item.item_id for item in read_instructions(tmp_path / "agenteval")["eval"]}
    assert eval_ids.isdisjoint(trajectory.item_id for trajectory in large)


def test_twice_gives_the_same_bytes_and_the_order_of_environments_does_not_matter(tmp_path: Path) -> None:
    collect(tmp_path / "a", ["counting", "maze"])
    collect(tmp_path / "b", ["maze", "counting"])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_current_sets_are_kept_and_damaged_or_outdated_ones_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = collect(tmp_path, ["counting"])
    played: list[tuple[int, int]] = []
    assert collect(tmp_path, ["counting"], lambda done, total: played.append((done, total))) == datasets
    assert played == []

    (tmp_path / "agenttraj" / "trajectories.parquet").write_bytes(b"cut")
    assert collect(tmp_path, ["counting"], lambda done, total: played.append((done, total))) == datasets
    assert played[-1] == (8, 8)
    assert is_complete(tmp_path / "agenttraj")

    monkeypatch.setattr(Counting, "version", 2)
    assert collect(tmp_path, ["counting"])["agenttraj"].digest != datasets["agenttraj"].digest


def test_data_of_more_environments_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = collect(tmp_path, ["counting", "maze"])
    before = contents(tmp_path)
    assert collect(tmp_path, ["counting"]) == both
    assert contents(tmp_path) == before
    monkeypatch.setattr(Counting, "version", 2)
    assert set(collect(tmp_path, ["counting"])["agenteval"].counts) == {"counting"}, (
        "out of date: only the requested environments are made again"
    )


def test_data_of_an_earlier_release_is_made_again(tmp_path: Path) -> None:
    datasets = collect(tmp_path, ["counting"])
    before = contents(tmp_path)
    assert not predates_versions(tmp_path)
    for folder in tmp_path.iterdir():
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        del manifest["lineage"]["env_versions"]
        manifest["lineage"]["sources"] = {"counting": "0123"}
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert predates_versions(tmp_path)
    assert collect(tmp_path, ["counting"]) == datasets
    assert contents(tmp_path) == before
    assert not predates_versions(tmp_path)


def test_the_policy_hash_of_expert_trajectories_depends_on_the_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert expert_hash("maze") == "0634ac5a003ca10b98c03d13b937a42267ce28da9c885c89a6628d53e0316e53"
    assert expert_hash("counting") == hashlib.sha256(b"expert:counting:v1").hexdigest()
    monkeypatch.setattr(Maze, "version", 2)
    assert expert_hash("maze") == hashlib.sha256(b"expert:maze:v2").hexdigest()


def test_an_expert_that_fails_is_named_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WrongExpert:
        def act(self, observation: str) -> tuple[str, str]:
            return "hm", "12"

    def wrong_expert(self: Counting) -> Expert:
        return WrongExpert()

    monkeypatch.setattr(Counting, "expert", wrong_expert)
    with pytest.raises(ExpertFailed, match=r"counting_\d+: the expert ended after 4 rounds with reward 0.0, no success"):
        collect(tmp_path, ["counting"])
    assert not (tmp_path / "agenttraj_l").exists()

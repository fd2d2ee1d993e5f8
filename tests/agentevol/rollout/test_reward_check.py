"""A server that reports other rewards than the same actions give here is found, and what cannot be checked is named."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data.dataset import write_instructions
from agentevol.data.experts import play_expert
from agentevol.data.trajectory import Trajectory
from agentevol.rollout import reward_check, rollout
from agentevol.rollout.reward_check import RewardMismatch, check_rewards
from agentevol.rollout.sampling import Sampling
from agentevol.settings.rollout import RolloutParams
from envs.maze import Maze
from envs.registry import environment_class
from tasks import paths
from tasks.artifact import Artifact
from tasks.rollout import _check_rewards, _say_unchecked, roll_out_chunk

SERVERS = {"maze": ["http://127.0.0.1:36001"]}
EPISODES = [play_expert("maze", instruction, "train") for instruction in environment_class("maze").instructions("train")[:12]]


def falsified(index: int) -> list[Trajectory]:
    return [replace(episode, reward=0.25) if number == index else episode for number, episode in enumerate(EPISODES)]


def test_honest_rewards_pass() -> None:
    assert check_rewards(EPISODES, SERVERS) == {}


def test_a_false_reward_stops_with_one_line() -> None:
    episodes = [replace(episode, messages=episode.messages[:1]) for episode in EPISODES]  # no action at all, and yet a success
    with pytest.raises(RewardMismatch) as caught:
        check_rewards(episodes, SERVERS)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("maze: maze_")
    assert f"reported reward {EPISODES[0].reward:g}, the same actions give 0 here" in message
    assert SERVERS["maze"][0] in message


def test_the_sample_is_drawn_anew_and_covers_every_episode_in_time() -> None:
    found = set()
    for seed in range(60):
        for index in range(len(EPISODES)):
            try:
                check_rewards(falsified(index), SERVERS, random.Random(seed))
            except RewardMismatch:
                found.add(index)
        if len(found) == len(EPISODES):
            break
    assert found == set(range(len(EPISODES)))


def test_failures_are_in_the_sample_too() -> None:
    """A server may also hide successes, which makes a policy look worse."""
    hidden = [replace(episode, reward=0.0, success=False) for episode in EPISODES[:4]] + EPISODES * 3
    with pytest.raises(RewardMismatch, match="reported reward 0, the same actions give"):
        check_rewards(hidden, SERVERS)


def test_what_cannot_be_checked_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_rewards(EPISODES, {"maze": ["agentgym+http://127.0.0.1:1"]}) == {"maze": "AgentGym's servers play another implementation"}
    monkeypatch.setattr(Maze, "missing", classmethod(lambda cls: "maze is not installed"))
    assert check_rewards(EPISODES, SERVERS) == {"maze": "maze is not installed"}
    foreign = [replace(episode, env="foreign") for episode in EPISODES]
    assert check_rewards(foreign, {"foreign": ["http://127.0.0.1:1"]}) == {"foreign": "only the server has it"}
    _say_unchecked.cache_clear()
    _check_rewards(EPISODES, SERVERS)
    _check_rewards(EPISODES, SERVERS)
    assert capsys.readouterr().err.count("cannot be checked on this machine (maze is not installed)") == 1
    monkeypatch.setattr(Maze, "deterministic", False)
    assert check_rewards(EPISODES, SERVERS) == {"maze": "its episodes are not deterministic"}


def test_errors_and_episodes_of_this_machine_are_not_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(episode: Trajectory) -> float:
        raise AssertionError(episode.item_id)

    monkeypatch.setattr(reward_check, "replay_answers", never)
    assert check_rewards([replace(EPISODES[0], status="error")], SERVERS) == {}
    assert check_rewards(EPISODES, {"wordle": "http://127.0.0.1:36001"}) == {}


def test_an_environment_that_fails_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Maze, item_id: str) -> str:
        raise OSError("no display")

    monkeypatch.setattr(Maze, "begin", broken)
    assert check_rewards(EPISODES, SERVERS) == {"maze": "it fails on this machine: OSError: no display"}


def test_a_rollout_on_a_server_is_checked_before_it_is_stored(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [environment_class("maze").instruction(episode.item_id) for episode in EPISODES]
    data = write_instructions(Path("list"), {"explore": items})
    monkeypatch.setattr(rollout, "roll_out", lambda *_, **__: [replace(episode, reward=0.25) for episode in EPISODES])
    inputs = {
        "policy": Artifact(kind="endpoint", path="http://127.0.0.1/v1#m", digest="d"),
        "name": "bc-base",
        "instructions": Artifact(kind="instructions", path="list", digest=data.digest, counts=data.counts),
        "start": 0,
        "stop": len(items),
        "sample": 0,
        "split": "explore",
        "sampling": Sampling(),
        "settings": RolloutParams(servers=SERVERS),
        "env_versions": {"maze": 1},
    }
    with pytest.raises(RewardMismatch, match=r"reported reward 0\.25"):
        roll_out_chunk.compute(**inputs)
    assert list(paths.store().glob("roll-out-chunk-*")) == []
    monkeypatch.setattr(rollout, "roll_out", lambda *_, **__: EPISODES)
    assert roll_out_chunk.compute(**inputs)["counts"] == {"maze": len(EPISODES)}

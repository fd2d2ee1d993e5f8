"""SciWorld: its thirty tasks, one Java machine for all episodes, the same text in every machine, and what happens when it dies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import groupby

import psutil
import pytest

from agentevol.rollout.episode import is_waiting
from envs.sciworld import SciWorld
from envs.sciworld import jvm as host
from envs.sciworld.environment import TASKS, games, thought_for
from tests import ROOT

needs_java = pytest.mark.skipif(host.missing() is not None, reason=str(host.missing()))
SHORTEST = {task: min((n for n, game in enumerate(games()) if game.task == task), key=lambda n: len(games()[n].gold)) for task in TASKS}


def solved(env: SciWorld, number: int) -> list[object]:
    """The expert's episode, as text."""
    told: list[object] = [env.reset(options={"item_id": f"sciworld_{number}"})[0]]
    for action in games()[number].gold:
        told.append(env.step(action)[:4])
    return told


def test_all_thirty_tasks_are_in_training_and_in_eval() -> None:
    for split in ("explore", "eval"):
        assert set(Counter(item.task_type for item in SciWorld.instructions(split))) == set(TASKS)


def test_eval_are_scienceworlds_own_test_variations() -> None:
    held_out = {(game.task, game.variation) for game in games() if game.held_out}
    assert len(held_out) == 200
    assert held_out.isdisjoint((game.task, game.variation) for game in games() if not game.held_out)


def test_thoughts_speak_of_the_action() -> None:
    assert thought_for("open door to kitchen") == "The kitchen must be open."
    assert thought_for("2") == "It is this one."


def test_without_java_the_card_is_there_and_a_reset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_java", lambda: None)
    monkeypatch.setattr(host, "_hosts", {})
    assert "install" in str(SciWorld.missing())
    assert len(SciWorld.instructions("eval")) == 200
    with pytest.raises(host.Missing, match=r"agentevol\[sciworld\]|scienceworld is not installed"):
        SciWorld().reset(options={"item_id": "sciworld_0"})


@needs_java
@pytest.mark.slow
def test_every_task_is_solved_and_the_score_adds_up_to_1() -> None:
    env = SciWorld()
    for task in TASKS:
        if len(games()[SHORTEST[task]].gold) > 100:
            continue
        told = solved(env, SHORTEST[task])
        assert env.succeeded(env.reward), task
        assert told[-1][2], task  # type: ignore[index]
    env.close()


@needs_java
def test_the_same_text_in_another_machine_and_interleaved() -> None:
    numbers = [SHORTEST[task] for task in ("find-plant", "lifespan-longest-lived", "power-component", "find-animal")]
    code = (
        "import json, sys\nfrom tests.envs.test_sciworld import SciWorld, solved\n"
        f"print(json.dumps([solved(SciWorld(), number) for number in {numbers}]))"
    )
    alone = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    live = {number: SciWorld() for number in numbers}
    told: dict[int, list[object]] = {number: [env.reset(options={"item_id": f"sciworld_{number}"})[0]] for number, env in live.items()}
    for step in range(max(len(games()[number].gold) for number in numbers)):
        for number, env in live.items():
            if step < len(games()[number].gold):
                told[number].append(env.step(games()[number].gold[step])[:4])
    assert json.loads(alone.stdout) == json.loads(json.dumps([told[number] for number in numbers]))
    for env in live.values():
        env.close()


@needs_java
def test_there_are_no_more_simulations_than_the_machine_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST_SIMULATIONS", host.host().live + 1)
    one, other = SciWorld(), SciWorld()
    one.reset(options={"item_id": "sciworld_0"})
    with pytest.raises(host.HostDied, match="close some of them"):
        other.reset(options={"item_id": "sciworld_0"})
    one.close()
    other.reset(options={"item_id": "sciworld_0"})
    other.close()


@needs_java
def test_a_machine_that_dies_ends_its_episodes_and_the_next_gets_another() -> None:
    env = SciWorld()
    first = env.reset(options={"item_id": "sciworld_0"})[0]
    java = psutil.Process(host.host()._process.pid)
    java.kill()
    java.wait(10)
    with pytest.raises(host.HostDied):
        env.step("look around")
    env.close()
    assert env.reset(options={"item_id": "sciworld_0"})[0] == first
    env.close()


@needs_java
def test_no_machine_outlives_a_killed_process() -> None:
    code = (
        "import sys\nfrom envs.sciworld import SciWorld, host\nSciWorld().reset(options={'item_id': 'sciworld_0'})\n"
        "print(host.host()._process.pid, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    java = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([java], timeout=15)
    assert not alive


def test_waiting_for_water_to_boil_is_no_loop() -> None:
    """The recorded solutions wait up to so many times running, which rollout.max_repeats must not cut."""
    longest = max(len(list(run)) for game in games() for action, run in groupby(game.gold) if action in SciWorld.waiting_actions)
    assert longest >= 3
    assert is_waiting(SciWorld(), "Thought: This takes time.\nAction: wait1")
    assert not is_waiting(SciWorld(), "Thought: I look.\nAction: look around")
    assert not is_waiting(SciWorld(), "wait1")

"""SciWorld: its thirty task types, one JVM for all episodes, the same text in every JVM, and what happens when it dies."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import groupby

import psutil
import pytest

from agentevol.rollout.episode import is_waiting
from envs.base import EnvironmentFull
from envs.sciworld import SciWorld, jvm
from envs.sciworld.expert import thought_for
from envs.sciworld.games import TASK_TYPES, games
from tests import ROOT


def needs_java(test: Callable[..., None]) -> Callable[..., None]:
    """The test plays in a JVM, which takes seconds, and is skipped without one."""
    skip = pytest.mark.skipif(jvm.missing() is not None, reason=str(jvm.missing()))
    return pytest.mark.slow(skip(test))  # type: ignore[no-any-return]


SHORTEST = {
    task_type: min((n for n, game in enumerate(games()) if game.task_type == task_type), key=lambda n: len(games()[n].gold_path))
    for task_type in TASK_TYPES
}


def expert_steps(env: SciWorld, number: int) -> list[object]:
    """The expert's episode, as text."""
    texts: list[object] = [env.reset(options={"item_id": f"sciworld_{number}"})[0]]
    for action in games()[number].gold_path:
        texts.append(env.step(action)[:4])
    return texts


def test_all_thirty_tasks_are_in_training_and_in_eval() -> None:
    for split in ("explore", "eval"):
        assert set(Counter(item.task_type for item in SciWorld.instructions(split))) == set(TASK_TYPES)


def test_eval_are_scienceworlds_own_test_variations() -> None:
    held_out = {(game.task_type, game.variation) for game in games() if game.held_out}
    assert len(held_out) == 200
    assert held_out.isdisjoint((game.task_type, game.variation) for game in games() if not game.held_out)


def test_thoughts_name_the_object_of_the_action() -> None:
    assert thought_for("open door to kitchen") == "The kitchen must be open."
    assert thought_for("2") == "It is this one."


def test_without_java_the_instructions_work_and_a_reset_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "_java", lambda: None)
    monkeypatch.setattr(jvm, "_jvms", {})
    assert "install" in str(SciWorld.missing())
    assert len(SciWorld.instructions("eval")) == 200
    with pytest.raises(jvm.NotInstalled, match=r"agentevol\[sciworld\]|scienceworld is not installed"):
        SciWorld().reset(options={"item_id": "sciworld_0"})


@needs_java
def test_every_task_is_solved_and_the_score_adds_up_to_1() -> None:
    env = SciWorld()
    for task_type in TASK_TYPES:
        if len(games()[SHORTEST[task_type]].gold_path) > 100:
            continue
        texts = expert_steps(env, SHORTEST[task_type])
        assert env.succeeded(env.reward), task_type
        assert texts[-1][2], task_type  # type: ignore[index]
    env.close()


@needs_java
def test_the_text_is_the_same_in_another_jvm_and_with_interleaved_episodes() -> None:
    numbers = [SHORTEST[task_type] for task_type in ("find-plant", "lifespan-longest-lived", "power-component", "find-animal")]
    code = (
        "import json, sys\nfrom tests.envs.test_sciworld import SciWorld, expert_steps\n"
        f"print(json.dumps([expert_steps(SciWorld(), number) for number in {numbers}]))"
    )
    separate = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    live = {number: SciWorld() for number in numbers}
    texts: dict[int, list[object]] = {number: [env.reset(options={"item_id": f"sciworld_{number}"})[0]] for number, env in live.items()}
    for step in range(max(len(games()[number].gold_path) for number in numbers)):
        for number, env in live.items():
            if step < len(games()[number].gold_path):
                texts[number].append(env.step(games()[number].gold_path[step])[:4])
    assert json.loads(separate.stdout) == json.loads(json.dumps([texts[number] for number in numbers]))
    for env in live.values():
        env.close()


@needs_java
def test_the_number_of_simulations_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "MAX_SIMULATIONS", jvm.get_jvm().live_simulations + 1)
    first, second, forgotten = SciWorld(), SciWorld(), SciWorld()
    forgotten.reset(options={"item_id": "sciworld_0"})
    del forgotten
    gc.collect()
    first.reset(options={"item_id": "sciworld_0"})
    with pytest.raises(EnvironmentFull, match="close some of them"):
        second.reset(options={"item_id": "sciworld_0"})
    first.close()
    second.reset(options={"item_id": "sciworld_0"})
    second.close()


@needs_java
def test_a_jvm_that_dies_ends_its_episodes_and_the_next_episode_gets_another() -> None:
    env = SciWorld()
    first = env.reset(options={"item_id": "sciworld_0"})[0]
    java = psutil.Process(jvm.get_jvm()._process.pid)
    java.kill()
    java.wait(10)
    with pytest.raises(jvm.JvmDied):
        env.step("look around")
    env.close()
    assert env.reset(options={"item_id": "sciworld_0"})[0] == first
    env.close()


@needs_java
def test_no_jvm_outlives_a_killed_process() -> None:
    code = (
        "import sys\nfrom envs.sciworld import SciWorld, jvm\nSciWorld().reset(options={'item_id': 'sciworld_0'})\n"
        "print(jvm.get_jvm()._process.pid, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    java = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([java], timeout=15)
    assert not alive


def test_waiting_actions_do_not_count_as_a_loop() -> None:
    """The recorded solutions wait several times in a row, which rollout.max_repeats must not end."""
    longest = max(len(list(run)) for game in games() for action, run in groupby(game.gold_path) if action in SciWorld.waiting_actions)
    assert longest >= 3
    assert is_waiting(SciWorld(), "Thought: This takes time.\nAction: wait1")
    assert not is_waiting(SciWorld(), "Thought: I look.\nAction: look around")
    assert not is_waiting(SciWorld(), "wait1")

"""A small sweep of the toy environment with drawn outcomes, for the tests of sweep reports."""

from __future__ import annotations

import random
from dataclasses import replace

from agentevol.data.trajectory import Message, Trajectory
from agentevol.report.sweep.model import SeedResult, Setting, StepCost, Sweep, SweepRun
from tests.flows.tiny import Pushing

DEFAULT = Setting("1", "initial", "base", "reward_weighted")
THREE_SAMPLES = Setting("3", "initial", "base", "reward_weighted")


def seed_result(setting: Setting, seed: int, iterations: int) -> SeedResult:
    """BC-Base and BC-Large depend on the seed only, not on the setting, as in a sweep."""

    def draw(label: str) -> random.Random:
        return random.Random(f"{seed} {label} {'' if label.startswith('BC') else setting}")

    labels = ["BC-Base", *(f"Iteration {number}" for number in range(1, iterations + 1)), "BC-Large"]
    return SeedResult(
        setting,
        seed,
        policies={label: episodes(draw(label), label) for label in labels},
        kept={f"Iteration {number}": frozenset({"pushing_7", "pushing_8"}) for number in range(1, iterations + 1)},
        lineage={label: {name: _artifact(label, name) for name in ("model", "learnt from")} for label in labels},
    )


def _artifact(label: str, name: str) -> dict[str, object]:
    return {"path": f"runs/store/{label}", "sha256": {"model": "ab", "learnt from": "cd"}[name] * 32, "rows": {}}


def episodes(draw: random.Random, label: str) -> list[Trajectory]:
    return [episode(instruction.item_id, draw, label) for instruction in Pushing.instructions("eval")]


def episode(item_id: str, draw: random.Random, label: str) -> Trajectory:
    success = draw.random() < 0.4
    status = "finished" if success else draw.choice(("finished", "truncated", "error"))
    words = [Message("user", "Push."), Message("assistant", f"Action: wait | {label}", True)]
    return Trajectory(item_id, "pushing", "push", "eval", label, "", 0, 0, words, float(success), success, draw.randint(1, 4), status)


def sweep_of(*results: SeedResult) -> Sweep:
    runs = [
        SweepRun(
            result.setting,
            len(result.curve) - 1,
            result.seed,
            f"runs/{result.seed}",
            [StepCost("BC-Base", "learn", f"a{result.seed}", 3.0, 0, 0, 70)],
        )
        for result in results
    ]
    explored = [("pushing", instruction.difficulty, instruction.item_id) for instruction in Pushing.instructions("explore")]
    return Sweep(results, runs, episodes(random.Random(5), "random"), explored, {"commit": "abc", "machine": "two cores"})


def solved(label: str, count: int) -> list[Trajectory]:
    """Episodes on every AgentEval instruction, of which the first `count` succeed."""
    rows = episodes(random.Random(0), label)
    return [replace(row, success=number < count, reward=float(number < count), status="finished") for number, row in enumerate(rows)]

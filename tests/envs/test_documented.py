"""The environment that docs/how-to/new-environment.md shows is complete: it runs unchanged and keeps the contract."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from envs import make, registry
from tests import ROOT


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = (ROOT / "docs" / "how-to" / "new-environment.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "TextEnv" in block)
    file = tmp_path / "doubling.py"
    file.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "ENVIRONMENTS", dict(registry.ENVIRONMENTS))
    return file


def test_it_runs_as_a_program(module: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(module)], cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout.startswith("('Right.', 1.0, True, False"), process.stderr


def test_its_expert_wins_and_its_splits_are_disjoint(module: Path) -> None:
    import doubling  # type: ignore[import-not-found]

    env = make("doubling")
    for item in (*env.instructions("train_large"), *env.instructions("eval")):
        observation, _ = env.reset(options={"item_id": item.item_id})
        assert env.answer(f"Thought: x\nAction: {env.expert().act(observation)[1]}")[1] == 1.0
    assert not set(env.instructions("explore")) & set(env.instructions("eval"))
    assert doubling.Doubling.succeeded(1.0)

"""The counting game, registered for the tests that ask for it."""

from __future__ import annotations

import pytest

from envs import registry


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.ENVIRONMENTS, "counting", "tests.agentevol.counting:Counting")
    return "counting"

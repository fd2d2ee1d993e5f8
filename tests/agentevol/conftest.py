"""The counting game, registered for the tests that ask for it, and small models of several families."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs import registry
from tests import small_models as small


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each family of chat template."""
    folder = tmp_path_factory.mktemp("models")
    return {family: small.make(folder / family, family) for family in small.FAMILIES}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.ENVIRONMENTS, "counting", "tests.agentevol.counting:Counting")
    return "counting"

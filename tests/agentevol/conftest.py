"""Fixtures: the counting environment, registered for a test, and small models of several families."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs import registry
from tests.small_models import FAMILIES, create_small_model


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each family of chat template."""
    folder = tmp_path_factory.mktemp("models")
    return {family: create_small_model(folder / family, family) for family in FAMILIES}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> str:
    """Registers the counting environment; its name."""
    monkeypatch.setitem(registry.ENVIRONMENTS, "counting", "tests.agentevol.counting:Counting")
    return "counting"

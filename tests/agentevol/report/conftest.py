"""Fixtures of the reports' tests."""

from __future__ import annotations

import pytest

from envs import registry


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the toy environment."""
    monkeypatch.setitem(registry.ENVIRONMENTS, "pushing", "tests.flows.tiny:Pushing")

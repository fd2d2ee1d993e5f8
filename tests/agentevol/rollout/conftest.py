"""Fixtures of the rollout's tests."""

from __future__ import annotations

import pytest

import agentevol.rollout.engines.openai as openai_engine


@pytest.fixture
def short_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_engine, "_FIRST_RETRY_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")

"""Fixtures of the tests of the parameters."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 3\nevolve:\n  iterations: 2\nfinetune: {learning_rate: 1e-3}\n")
    return path

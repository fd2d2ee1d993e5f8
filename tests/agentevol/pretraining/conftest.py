"""What the tests of pretraining share: the first observations of all instructions, which take some seconds per environment to collect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from agentevol.pretraining import problems
from tests.shared import build_once


@pytest.fixture(scope="session", autouse=True)
def shared_observations() -> Iterator[None]:
    """`problems.instruction_observations`, with one collection per session instead of one per worker process."""
    collect = problems.instruction_observations

    @cache
    def read(name: str) -> frozenset[str]:
        def write(folder: Path) -> None:
            (folder / "texts.json").write_text(json.dumps(sorted(collect(name))), encoding="utf-8")

        return frozenset(json.loads((build_once(f"first-observations-{name}", write) / "texts.json").read_text(encoding="utf-8")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problems, "instruction_observations", read)
        yield

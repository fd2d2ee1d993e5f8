"""What the tests of pretraining share: the first observations of all instructions, which take some seconds per environment to collect.

Their tokenizers learn from less text: a whole one takes ten seconds to build, and every pretraining builds its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from agentevol.pretraining import problems, tokenizer
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
        patch.setattr(tokenizer, "RANDOM_EPISODES", 60)
        yield

"""What the tests of WebArena share: elements of an observation, task files, and the need of a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from envs.webarena import browser


def needs_browser(test: Callable[..., None]) -> Callable[..., None]:
    """The test plays in a browser, which takes seconds, and is skipped without one."""
    skip = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
    return pytest.mark.slow(skip(test))  # type: ignore[no-any-return]


def element_id_of(observation: str, element: str) -> str:
    match = re.search(rf"\[(\d+)\] {re.escape(element)}", observation)
    assert match, f"no {element} in\n{observation}"
    return match[1]


def task_file(folder: Path, *evaluations: dict[str, object]) -> Path:
    entries = [
        {"intent": f"Task {number}", "start_url": "__SHOPPING__/start", "eval": evaluation} for number, evaluation in enumerate(evaluations)
    ]
    (folder / "test.raw.json").write_text(json.dumps(entries))
    return folder / "test.raw.json"

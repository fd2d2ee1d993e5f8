"""The progress lines of long work without a terminal."""

from __future__ import annotations

import pytest

from tasks import progress


def test_the_last_minute_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 200.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    progress.console.cache_clear()
    with progress.progress_bar("collecting") as update:
        update(90, 100)
        update(100, 100)
    progress.console.cache_clear()
    assert capsys.readouterr().err.splitlines() == [
        "collecting: 90 of 100, less than a minute left",
        "collecting: 100 of 100",
    ]


def test_a_log_gets_a_progress_line_once_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 59.0, 61.0, 62.0, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    progress.console.cache_clear()
    with progress.progress_bar("fine-tuning iteration-1") as update:
        for done in (1, 20, 25, 26, 50):
            update(done, 100, 0.5)
    progress.console.cache_clear()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fine-tuning iteration-1: 25 of 100, about 3 min left (0.500)",
        "fine-tuning iteration-1: 50 of 100, about 2 min left (0.500)",
    ]

"""The progress lines of long work without a terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from tasks import progress


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines of a bar whose calls come at these seconds with these numbers of finished steps."""

    def report(title: str, *calls: tuple[float, int], value: float | None = None) -> list[str]:
        clock = iter([0.0, *(seconds for seconds, _ in calls)])
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # time.monotonic is that of all threads
        progress.console.cache_clear()
        with progress.progress_bar(title) as update:
            for _, done in calls:
                update(done, 100, value)
        progress.console.cache_clear()
        return capsys.readouterr().err.splitlines()

    return report


def test_the_last_minute_is_named(lines: Callable[..., list[str]]) -> None:
    assert lines("collecting", (10, 10), (100, 90), (200, 100)) == [
        "collecting: 90 of 100, less than a minute left",
        "collecting: 100 of 100",
    ]


def test_a_log_gets_a_progress_line_once_a_minute(lines: Callable[..., list[str]]) -> None:
    assert lines("fine-tuning iteration-1", (1, 1), (59, 20), (61, 25), (62, 26), (130, 50), value=0.5) == [
        "fine-tuning iteration-1: 25 of 100, about 3 min left (0.500)",
        "fine-tuning iteration-1: 50 of 100, about 2 min left (0.500)",
    ]


def test_the_time_left_of_a_resumed_training_follows_from_its_own_steps(lines: Callable[..., list[str]]) -> None:
    assert lines("fine-tuning iteration-1", (2, 61), (120, 64)) == ["fine-tuning iteration-1: 64 of 100, about 24 min left"]

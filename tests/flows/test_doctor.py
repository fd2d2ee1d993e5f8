"""The doctor on worlds that lack something: they are named with what to install, and the others are in order."""

from __future__ import annotations

import pytest

from envs.sciworld import jvm as host
from envs.webarena import browser
from flows.cli import doctor


def test_worlds_without_java_or_a_browser_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_java", lambda: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AGENTEVOL_CHROMIUM", raising=False)
    if "playwright" not in str(browser.missing()):
        assert "Chromium" in str(browser.missing())
    found = {finding.what: finding for finding in doctor._environments()}
    assert set(found) == {"environments", "sciworld", "webarena"}
    assert "textcraft" in found["environments"].seen
    assert not {"sciworld", "webarena"} & set(found["environments"].seen.split(", "))
    assert "agentevol[sciworld]" in found["sciworld"].seen
    assert "install" in found["webarena"].seen

"""`agentevol doctor` on environments with missing dependencies: it names what to install."""

from __future__ import annotations

import pytest

from envs.sciworld import jvm
from envs.webarena import browser
from flows.cli import doctor


def test_environments_without_java_or_a_browser_are_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm, "_java", lambda: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AGENTEVOL_CHROMIUM", raising=False)
    if "playwright" not in str(browser.missing()):
        assert "Chromium" in str(browser.missing())
    found = {finding.name: finding for finding in doctor._environments()}
    assert set(found) == {"environments", "sciworld", "webarena"}
    assert "textcraft" in found["environments"].detail
    assert not {"sciworld", "webarena"} & set(found["environments"].detail.split(", "))
    assert "agentevol[sciworld]" in found["sciworld"].detail
    assert "install" in found["webarena"].detail

"""Waiting until what an action began is done.

Invariant: a page is read only when no navigation is under way, its document is loaded and a frame of it has been drawn.
"""

from __future__ import annotations

import time
from typing import Any

from envs.webarena.browser import STEP_MS

_DRAWN = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(document.readyState), 20)))"


class Watch:
    """Knows which pages of a context are on their way to another document."""

    def __init__(self, context: Any) -> None:
        self._leaving: set[Any] = set()
        context.on("request", self._asked)
        context.on("requestfailed", self._ended)
        context.on("page", self.add)

    def add(self, page: Any) -> None:
        page.on("load", lambda _: self._leaving.discard(page))

    def settle(self, page: Any) -> None:
        """Return when the page is at rest, or when it has had its time: a page that never rests is read as it is."""
        from playwright.sync_api import Error

        end = time.monotonic() + STEP_MS / 1000
        while time.monotonic() < end and not page.is_closed():
            try:
                if page.evaluate(_DRAWN) == "complete" and page not in self._leaving:
                    return
            except Error as error:
                if ("closed" in str(error) and not page.is_closed()) or "crashed" in str(error).lower():
                    raise
                # The document that was asked has been left; the next one is asked.

    def _asked(self, request: Any) -> None:
        if request.is_navigation_request() and request.frame.parent_frame is None:
            self._leaving.add(request.frame.page)

    def _ended(self, request: Any) -> None:
        if request.is_navigation_request():
            self._leaving.discard(request.frame.page)

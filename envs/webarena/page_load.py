"""Waits until a page is loaded after an action.

Invariant: a page counts as loaded when no navigation is in progress, its document is complete and a frame of it has been drawn.
"""

from __future__ import annotations

import time
from typing import Any

from envs.webarena.browser import PLAYWRIGHT_TIMEOUT_MS, has_ended

_WAIT_FOR_FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(document.readyState), 20)))"


class NavigationTracker:
    """Tracks which pages of a browser context are navigating to another document."""

    def __init__(self, context: Any) -> None:
        self._navigating: dict[Any, Any] = {}
        """The request for the next document of a page."""
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_request_failed)
        context.on("page", self.track)

    def track(self, page: Any) -> None:
        page.on("load", lambda _: self._navigating.pop(page, None))

    def wait_until_loaded(self, page: Any) -> None:
        """Return when the page is loaded, or after PLAYWRIGHT_TIMEOUT_MS: a page that never finishes loading is read as it is."""
        from playwright.sync_api import Error

        deadline = time.monotonic() + PLAYWRIGHT_TIMEOUT_MS / 1000
        while time.monotonic() < deadline and not page.is_closed():
            try:
                if page.evaluate(_WAIT_FOR_FRAME) == "complete" and page not in self._navigating:
                    return
            except Error as error:
                if has_ended(error) and not page.is_closed():
                    raise
                # The page has left the document that was evaluated; try again in the next one.

    def _on_request(self, request: Any) -> None:
        if (page := _navigating_page(request)) is not None:
            self._navigating[page] = request

    def _on_request_failed(self, request: Any) -> None:
        page = _navigating_page(request)
        # After any other failure the browser loads its error page. An aborted request has none: a download, or another navigation began.
        if page in self._navigating and self._navigating[page] is request and "ERR_ABORTED" in (request.failure or ""):
            del self._navigating[page]


def _navigating_page(request: Any) -> Any:
    """The page that the request replaces the document of, or None: the request is for something else, or opens a new tab."""
    from playwright.sync_api import Error

    if not request.is_navigation_request():
        return None
    try:
        frame = request.frame
    except Error:  # the request of a link with target=_blank is sent before the tab exists
        return None
    return frame.page if frame.parent_frame is None else None

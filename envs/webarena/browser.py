"""The browser: one Chromium per process, driven by Playwright in a thread of its own, a context per episode.

Invariant: a browser that dies ends its episodes with BrowserDied, and the next episode starts a new one.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from envs.webarena.accessibility_tree import VIEW

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CALL_SECONDS = 60.0
"""The longest that a whole action may take; Playwright's own calls have a bound of STEP_MS each."""
STEP_MS = 15_000
Result = TypeVar("Result")


class BrowserDied(RuntimeError):
    """The browser ended or hung: the episode cannot go on, another one can begin."""


def program() -> str | None:
    """The system's Chromium: AGENTEVOL_CHROMIUM, or the first that is found."""
    given = os.environ.get("AGENTEVOL_CHROMIUM")
    return given or next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def missing() -> str | None:
    """What must be installed, in one line, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "it needs the package playwright: pip install 'agentevol[webarena]'"
    if program() is None:
        return "it needs Chromium: apt-get install chromium, or set AGENTEVOL_CHROMIUM to its path"
    return None


class Browser:
    """A Chromium that was started with `arguments`. All methods may be called from any thread."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[Any], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="browser", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def call(self, function: Callable[[Any], Result]) -> Result:
        """`function(browser)` in the browser's thread. Raises BrowserDied where the browser is gone or does not answer in time."""
        from playwright.sync_api import Error

        future: Future[Result] = Future()
        self._calls.put((future, function))
        try:
            return future.result(CALL_SECONDS)
        except TimeoutError:
            raise BrowserDied(f"the browser did not answer within {CALL_SECONDS:.0f} s") from None
        except Error as error:
            if "closed" in str(error) or "crashed" in str(error).lower():
                raise BrowserDied(f"the browser ended: {str(error).splitlines()[0]}") from None
            raise

    def later(self, function: Callable[[Any], object]) -> None:
        """Like call, without waiting and whatever becomes of it (a context of a browser that has died needs no closing)."""
        self._calls.put((Future(), function))

    def close(self) -> None:
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join(10)

    def _serve(self) -> None:
        from playwright.sync_api import sync_playwright

        playwright, browser = None, None
        while (asked := self._calls.get()) is not None:
            future, function = asked
            try:
                if playwright is None:
                    playwright = sync_playwright().start()
                if browser is None or not browser.is_connected():
                    browser = playwright.chromium.launch(executable_path=program(), args=list(self._arguments))
                future.set_result(function(browser))
            except BaseException as error:  # the caller's to handle, in the caller's thread
                future.set_exception(error)
        try:
            if browser is not None:
                browser.close()
        finally:
            if playwright is not None:
                playwright.stop()


def open_context(browser: Any, headers: dict[str, str]) -> Any:
    """A context of its own (cookies, storage, history) with one page, which sends `headers` along."""
    context = browser.new_context(
        viewport={"width": VIEW[0], "height": VIEW[1]},
        extra_http_headers=headers,
        accept_downloads=False,
        locale="en-US",
        timezone_id="UTC",
    )
    context.set_default_timeout(STEP_MS)
    context.new_page()
    return context

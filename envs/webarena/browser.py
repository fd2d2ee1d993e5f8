"""The browser: Chromium, driven by Playwright in a thread of its own, with a browser context per episode.

Invariant: if the browser or Playwright's own process dies, its episodes end with BrowserDied, and the next episode starts a new browser.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from envs.webarena.accessibility_tree import VIEWPORT

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CALL_TIMEOUT_SECONDS = 60.0
"""For a whole action, which may be several Playwright calls."""
PLAYWRIGHT_TIMEOUT_MS = 15_000
_ENDED = re.compile(r"has been closed|connection closed|event loop is closed|(?:page|target) crashed", re.IGNORECASE)
Result = TypeVar("Result")


class BrowserDied(RuntimeError):
    """The browser ended or hung. The episode cannot continue, but a new one can start."""


def has_ended(error: BaseException) -> bool:
    """Whether a Playwright error says that the page, the browser or Playwright's own process has ended."""
    # A message may quote what the policy wrote: a URL (only the text before it counts), or a key, which has no spaces.
    return _ENDED.search(str(error).partition("://")[0]) is not None


def chromium_path() -> str | None:
    """The path in AGENTEVOL_CHROMIUM, or the first Chromium on the PATH."""
    configured = os.environ.get("AGENTEVOL_CHROMIUM")
    return configured or next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


def missing() -> str | None:
    """The package or program that must be installed, in one line, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "it needs the package playwright: pip install 'agentevol[webarena]'"
    if chromium_path() is None:
        return "it needs Chromium: apt-get install chromium, or set AGENTEVOL_CHROMIUM to its path"
    return None


class Browser:
    """A Chromium with these command-line arguments, started by the first call. Thread-safe."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._arguments = arguments
        self.no_sandbox: str | None = None
        """Why the Chromium that was started runs without its sandbox, and what to do, or None."""
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[Any], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="browser", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def call(self, function: Callable[[Any], Result]) -> Result:
        """Run `function(browser)` in the browser's thread and return its result. Raises BrowserDied if the browser ended or timed out."""
        from playwright.sync_api import Error

        future: Future[Result] = Future()
        self._queue.put((future, function))
        try:
            return future.result(_CALL_TIMEOUT_SECONDS)
        except TimeoutError:
            raise BrowserDied(f"the browser did not answer within {_CALL_TIMEOUT_SECONDS:.0f} s") from None
        except Error as error:
            if has_ended(error):
                raise BrowserDied(f"the browser ended: {str(error).splitlines()[0]}") from None
            raise

    def call_later(self, function: Callable[[Any], object]) -> None:
        """Like call, but does not wait and ignores errors (a context of a dead browser needs no closing)."""
        self._queue.put((Future(), function))

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(10)

    def _run(self) -> None:
        from playwright.sync_api import sync_playwright

        playwright: Any = None
        browser: Any = None
        while (call := self._queue.get()) is not None:
            future, function = call
            try:
                if browser is not None and not browser.is_connected():
                    browser = None
                if playwright is None:
                    playwright = sync_playwright().start()
                if browser is None:
                    browser, self.no_sandbox = launch_chromium(playwright, self._arguments)
                future.set_result(function(browser))
            except BaseException as error:  # raised again in the caller's thread
                if playwright is not None and has_ended(error) and (browser is None or not _answers(browser)):
                    # Playwright's own process may have died, and no browser starts without it; the browser still counts as connected.
                    with suppress(Exception):
                        playwright.stop()
                    playwright, browser = None, None
                future.set_exception(error)
        try:
            if browser is not None:
                browser.close()
        finally:
            if playwright is not None:
                playwright.stop()


def _answers(browser: Any) -> bool:
    from playwright.sync_api import Error

    try:
        browser.new_browser_cdp_session().detach()
    except Error:
        return False
    return True


def launch_chromium(playwright: Any, arguments: tuple[str, ...]) -> tuple[Any, str | None]:
    """A browser in Chromium's sandbox if this machine allows that, else (the browser, the reason)."""
    from playwright.sync_api import Error

    def launch(sandbox: bool) -> Any:
        return playwright.chromium.launch(executable_path=chromium_path(), args=list(arguments), chromium_sandbox=sandbox)

    reason = sandbox_problem()
    if reason is None:
        try:
            return launch(True), None
        except Error as error:
            if "sandbox" not in str(error).lower():
                raise
            reason = "this machine does not let it start one; allow unprivileged user namespaces"
    return launch(False), reason


def sandbox_problem() -> str | None:
    """Why this process cannot start a Chromium with a sandbox, if that is known without trying."""
    return "the process runs as root; run it as another user" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def open_context(browser: Any, headers: dict[str, str]) -> Any:
    """A new browser context (separate cookies, storage and history) with one page; every request sends `headers`."""
    context = browser.new_context(
        viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]},
        extra_http_headers=headers,
        accept_downloads=False,
        locale="en-US",
        timezone_id="UTC",
    )
    context.set_default_timeout(PLAYWRIGHT_TIMEOUT_MS)
    context.new_page()
    return context

"""One episode's browser tabs: the observation, and the effect of each action. Runs in the browser's thread.

Invariant: an action that is not possible raises ActionNotPossible; any other error means that the browser has died.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from envs.printable import printable
from envs.webarena.accessibility_tree import ElementIds, tree_text
from envs.webarena.actions import Action
from envs.webarena.browser import has_ended, open_context
from envs.webarena.page_load import NavigationTracker
from envs.webarena.site_proxy import Address, address_of, host_text

MAX_TABS = 8
MAX_READINGS = 20
"""Of a first observation: a page that never stops changing is read as it is."""
_KEY_NAMES = {"ctrl": "Control", "cmd": "Meta", "enter": "Enter", "esc": "Escape", "tab": "Tab", "space": "Space"}
_SELECT_OPTION_JS = "function() { this.selected = true; this.closest('select').dispatchEvent(new Event('change', {bubbles: true})); }"


class ActionNotPossible(ValueError):
    """The action cannot be carried out. The policy reads the message."""


class BrowserSession:
    """The tabs of an episode. `sites`: those that `goto` may open. The browser itself must not reach any other (links, redirects)."""

    def __init__(self, browser: Any, start_url: str, sites: frozenset[Address], headers: dict[str, str]) -> None:
        self.sites = sites
        self.context = open_context(browser, headers)
        self.page = self.context.pages[0]
        self._navigation = NavigationTracker(self.context)
        self._navigation.track(self.page)
        self._page_states: dict[Any, tuple[Any, ElementIds]] = {}
        self._handlers: dict[str, Callable[..., None]] = {
            "click": self._click, "hover": self._hover, "type": self._type, "press": self._press, "scroll": self._scroll,
            "tab_focus": self._tab_focus, "new_tab": self._new_tab, "close_tab": self._close_tab, "goto": self.goto,
            "go_back": lambda: self._go_in_history("back"), "go_forward": lambda: self._go_in_history("forward"),
        }  # fmt: skip
        self._page_state()  # accessibility is on before the first document comes, as it is for all later ones
        self.page.goto(start_url)
        self._navigation.wait_until_loaded(self.page)

    def observe_first(self) -> str:
        """The first observation: what two readings in a row agree on. On a busy machine a new browser context can still be at work."""
        text = self.observe()
        for _ in range(MAX_READINGS):
            before = text
            self._navigation.wait_until_loaded(self.page)
            self._page_state()[1].ids = {}  # ids follow the order of the settled page
            text = self.observe()
            if text == before:
                break
        return text

    def observe(self) -> str:
        """URL, tabs, and the visible part of the page."""
        cdp, element_ids = self._page_state()
        document = cdp.send("Page.getFrameTree")["frameTree"]["frame"]["loaderId"]
        if document != element_ids.document:
            element_ids.document, element_ids.ids = document, {}
        nodes = cdp.send("Accessibility.getFullAXTree")["nodes"]
        snapshot = cdp.send("DOMSnapshot.captureSnapshot", {"computedStyles": []})["documents"][0]
        backend_node_ids, layout = snapshot["nodes"]["backendNodeId"], snapshot["layout"]
        bounds = {backend_node_ids[index]: (box[1], box[3]) for index, box in zip(layout["nodeIndex"], layout["bounds"], strict=True)}
        tabs = " | ".join(
            f"Tab {index}{' (current)' if page == self.page else ''}: {page.title()}" for index, page in enumerate(self._pages())
        )
        text = f"URL: {self.page.url}\n{tabs}\n{tree_text(nodes, bounds, snapshot.get('scrollOffsetY', 0), element_ids)}"
        return printable(text)

    def act(self, action: Action) -> None:
        """Carry out an action. Raises ActionNotPossible."""
        from playwright.sync_api import Error, TimeoutError

        pages_before = self._pages()
        try:
            self._handlers[action.name](*action.arguments)
            self._navigation.wait_until_loaded(self.page)
        except TimeoutError:
            raise ActionNotPossible("The page took too long.") from None
        except Error as error:
            if has_ended(error):
                raise
            raise ActionNotPossible("The browser could not do that.") from None
        new_pages = [page for page in self._pages() if page not in pages_before]
        if new_pages:
            self.page = new_pages[-1]
            self._navigation.wait_until_loaded(self.page)
        if self.page.is_closed():
            self.page = self._pages()[-1]

    def goto(self, url: str) -> None:
        from playwright.sync_api import Error, TimeoutError

        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
        except ValueError:
            raise ActionNotPossible("That is no address.") from None
        if address_of(parts.geturl()) not in self.sites:
            raise ActionNotPossible(f"Only the sites can be opened: {', '.join(sorted(set(map(host_text, self.sites))))}")
        try:
            self.page.goto(parts.geturl())
        except Error as error:
            if has_ended(error):
                raise
            if not isinstance(error, TimeoutError):  # the browser's error page would interrupt the next action
                self._navigation.wait_until_loaded(self.page)
            raise ActionNotPossible("This page could not be opened.") from None

    def close(self) -> None:
        self.context.close()

    def _pages(self) -> list[Any]:
        return list(self.context.pages)

    def _page_state(self) -> tuple[Any, ElementIds]:
        """The page's session of the Chrome DevTools Protocol (CDP), and its element ids."""
        if self.page not in self._page_states:
            cdp = self.context.new_cdp_session(self.page)
            cdp.send("Accessibility.enable")
            self._page_states[self.page] = cdp, ElementIds()
        return self._page_states[self.page]

    def _node_parameters(self, element_id: str) -> dict[str, int]:
        """The parameters by which CDP finds an element. Raises ActionNotPossible."""
        backend_node_id = self._page_state()[1].backend_node_id(int(element_id))
        if backend_node_id is None:
            raise ActionNotPossible(f"There is no [{int(element_id)}] on this page.")
        return {"backendNodeId": backend_node_id}

    def _center(self, element_id: str) -> tuple[float, float]:
        """The centre (x, y) of an element in pixels, scrolled into view."""
        from playwright.sync_api import Error

        parameters, cdp = self._node_parameters(element_id), self._page_state()[0]
        try:
            cdp.send("DOM.scrollIntoViewIfNeeded", parameters)
            quad = cdp.send("DOM.getContentQuads", parameters)["quads"][0]
        except (Error, IndexError):
            raise ActionNotPossible(f"[{int(element_id)}] cannot be pointed at.") from None
        return sum(quad[0::2]) / 4, sum(quad[1::2]) / 4

    def _click(self, element_id: str) -> None:
        cdp = self._page_state()[0]
        node = cdp.send("DOM.describeNode", self._node_parameters(element_id))["node"]
        if node["nodeName"] == "OPTION":  # an open drop-down list is not part of the page, so it cannot be clicked
            object_id = cdp.send("DOM.resolveNode", self._node_parameters(element_id))["object"]["objectId"]
            cdp.send("Runtime.callFunctionOn", {"objectId": object_id, "functionDeclaration": _SELECT_OPTION_JS})
            return
        self.page.mouse.click(*self._center(element_id))

    def _hover(self, element_id: str) -> None:
        self.page.mouse.move(*self._center(element_id))

    def _type(self, element_id: str, text: str, enter: str) -> None:
        self._click(element_id)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text) if text else self.page.keyboard.press("Delete")
        if enter != "0":
            self.page.keyboard.press("Enter")

    def _press(self, keys: str) -> None:
        self.page.keyboard.press("+".join(_KEY_NAMES.get(key.lower(), key) for key in keys.split("+")))

    def _scroll(self, direction: str) -> None:
        self.page.evaluate(f"() => window.scrollBy(0, {'-' if direction == 'up' else ''}window.innerHeight)")

    def _tab_focus(self, tab_number: str) -> None:
        if int(tab_number) >= len(self._pages()):
            raise ActionNotPossible(f"There is no tab {int(tab_number)}.")
        self.page = self._pages()[int(tab_number)]
        self.page.bring_to_front()

    def _new_tab(self) -> None:
        if len(self._pages()) >= MAX_TABS:
            raise ActionNotPossible(f"There are {MAX_TABS} tabs already.")
        self.page = self.context.new_page()

    def _close_tab(self) -> None:
        if len(self._pages()) == 1:
            raise ActionNotPossible("The last tab stays.")
        closed = self.page
        self._page_states.pop(closed, None)
        closed.close()
        self.page = self._pages()[-1]

    def _go_in_history(self, direction: str) -> None:
        cdp = self._page_state()[0]
        entries = cdp.send("Page.getNavigationHistory")
        index = entries["currentIndex"] + (-1 if direction == "back" else 1)
        if not 0 <= index < len(entries["entries"]) or entries["entries"][index]["url"] == "about:blank":
            raise ActionNotPossible(f"There is nothing to go {direction} to.")
        (self.page.go_back if direction == "back" else self.page.go_forward)()

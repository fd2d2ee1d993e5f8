"""One episode's tabs: what is seen, and what each action does. Runs in the browser's thread.

Invariant: an action that cannot be done is told in words; only a browser that is gone raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from envs.webarena.accessibility_tree import Numbers, describe
from envs.webarena.actions import Action
from envs.webarena.browser import open_context
from envs.webarena.page_load import Watch

MOST_TABS = 8
_KEYS = {"ctrl": "Control", "cmd": "Meta", "enter": "Enter", "esc": "Escape", "tab": "Tab", "space": "Space"}
_SELECT = "function() { this.selected = true; this.closest('select').dispatchEvent(new Event('change', {bubbles: true})); }"


class Refused(ValueError):
    """The action cannot be done; the message is for the policy."""


class Session:
    """The tabs of an episode. `hosts`: the sites that may be opened (host, with port where it has one)."""

    def __init__(self, browser: Any, start: str, hosts: frozenset[str], headers: dict[str, str]) -> None:
        self.hosts = hosts
        self.context = open_context(browser, headers)
        self.page = self.context.pages[0]
        self._watch = Watch(self.context)
        self._watch.add(self.page)
        self._tools: dict[Any, tuple[Any, Numbers]] = {}
        self._acts: dict[str, Callable[..., None]] = {
            "click": self._click, "hover": self._hover, "type": self._type, "press": self._press, "scroll": self._scroll,
            "tab_focus": self._focus, "new_tab": self._new_tab, "close_tab": self._close_tab, "goto": self.goto,
            "go_back": lambda: self._history("back"), "go_forward": lambda: self._history("forward"),
        }  # fmt: skip
        self.page.goto(start)
        self._watch.settle(self.page)

    def observe(self) -> str:
        """Address, tabs, and the part of the page that is in view."""
        cdp, numbers = self._tool()
        document = cdp.send("Page.getFrameTree")["frameTree"]["frame"]["loaderId"]
        if document != numbers.document:
            numbers.document, numbers.given = document, {}
        nodes = cdp.send("Accessibility.getFullAXTree")["nodes"]
        shot = cdp.send("DOMSnapshot.captureSnapshot", {"computedStyles": []})["documents"][0]
        backend, layout = shot["nodes"]["backendNodeId"], shot["layout"]
        bounds = {backend[index]: (box[1], box[3]) for index, box in zip(layout["nodeIndex"], layout["bounds"], strict=True)}
        tabs = " | ".join(
            f"Tab {index}{' (current)' if page == self.page else ''}: {page.title()}" for index, page in enumerate(self._pages())
        )
        text = f"URL: {self.page.url}\n{tabs}\n{describe(nodes, bounds, shot.get('scrollOffsetY', 0), numbers)}"
        return "".join(char if " " <= char <= "~" or char == "\n" else "?" for char in text)

    def act(self, action: Action) -> None:
        """Carry an action out. Raises Refused."""
        from playwright.sync_api import Error, TimeoutError

        before = self._pages()
        try:
            self._acts[action.name](*action.given)
            self._watch.settle(self.page)
        except TimeoutError:
            raise Refused("The page took too long.") from None
        except Error as error:
            if "closed" in str(error) or "crashed" in str(error).lower():
                raise
            raise Refused("The browser could not do that.") from None
        opened = [page for page in self._pages() if page not in before]
        if opened:
            self.page = opened[-1]
            self._watch.settle(self.page)
        if self.page.is_closed():
            self.page = self._pages()[-1]

    def goto(self, url: str) -> None:
        from playwright.sync_api import Error

        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
        except ValueError:
            raise Refused("That is no address.") from None
        if parts.scheme not in ("http", "https") or parts.netloc not in self.hosts:
            raise Refused(f"Only the sites can be opened: {', '.join(sorted(self.hosts))}")
        try:
            self.page.goto(parts.geturl())
        except Error as error:
            if "closed" in str(error):
                raise
            raise Refused("This page could not be opened.") from None

    def close(self) -> None:
        self.context.close()

    def _pages(self) -> list[Any]:
        return list(self.context.pages)

    def _tool(self) -> tuple[Any, Numbers]:
        """The page's protocol session and its nodes' numbers."""
        if self.page not in self._tools:
            cdp = self.context.new_cdp_session(self.page)
            cdp.send("Accessibility.enable")
            self._tools[self.page] = cdp, Numbers()
        return self._tools[self.page]

    def _node(self, number: str) -> dict[str, int]:
        node = self._tool()[1].node(int(number))
        if node is None:
            raise Refused(f"There is no [{int(number)}] on this page.")
        return {"backendNodeId": node}

    def _place(self, number: str) -> tuple[float, float]:
        """The middle of a node, brought into view."""
        from playwright.sync_api import Error

        node, cdp = self._node(number), self._tool()[0]
        try:
            cdp.send("DOM.scrollIntoViewIfNeeded", node)
            quad = cdp.send("DOM.getContentQuads", node)["quads"][0]
        except (Error, IndexError):
            raise Refused(f"[{int(number)}] cannot be pointed at.") from None
        return sum(quad[0::2]) / 4, sum(quad[1::2]) / 4

    def _click(self, number: str) -> None:
        cdp = self._tool()[0]
        found = cdp.send("DOM.describeNode", self._node(number))["node"]
        if found["nodeName"] == "OPTION":  # a list that has dropped down is not part of the page
            held = cdp.send("DOM.resolveNode", self._node(number))["object"]["objectId"]
            cdp.send("Runtime.callFunctionOn", {"objectId": held, "functionDeclaration": _SELECT})
            return
        self.page.mouse.click(*self._place(number))

    def _hover(self, number: str) -> None:
        self.page.mouse.move(*self._place(number))

    def _type(self, number: str, text: str, enter: str) -> None:
        self._click(number)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text) if text else self.page.keyboard.press("Delete")
        if enter != "0":
            self.page.keyboard.press("Enter")

    def _press(self, keys: str) -> None:
        self.page.keyboard.press("+".join(_KEYS.get(key.lower(), key) for key in keys.split("+")))

    def _scroll(self, direction: str) -> None:
        self.page.evaluate(f"() => window.scrollBy(0, {'-' if direction == 'up' else ''}window.innerHeight)")

    def _focus(self, number: str) -> None:
        if int(number) >= len(self._pages()):
            raise Refused(f"There is no tab {int(number)}.")
        self.page = self._pages()[int(number)]
        self.page.bring_to_front()

    def _new_tab(self) -> None:
        if len(self._pages()) >= MOST_TABS:
            raise Refused(f"There are {MOST_TABS} tabs already.")
        self.page = self.context.new_page()

    def _close_tab(self) -> None:
        if len(self._pages()) == 1:
            raise Refused("The last tab stays.")
        closed = self.page
        self._tools.pop(closed, None)
        closed.close()
        self.page = self._pages()[-1]

    def _history(self, direction: str) -> None:
        cdp = self._tool()[0]
        entries = cdp.send("Page.getNavigationHistory")
        index = entries["currentIndex"] + (-1 if direction == "back" else 1)
        if not 0 <= index < len(entries["entries"]) or entries["entries"][index]["url"] == "about:blank":
            raise Refused(f"There is nothing to go {direction} to.")
        (self.page.go_back if direction == "back" else self.page.go_forward)()

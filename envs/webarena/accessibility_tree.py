"""A page as text: its accessibility tree, the part in view, a number for each node.

Invariant: numbers follow the order in which a page's nodes were first shown, so the same clicks give the same numbers on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

VIEW = (1280, 720)
LONGEST = 6_000
_UNSEEN = {"none", "generic", "InlineTextBox", "LineBreak", "LayoutTableRow", "LayoutTableCell", "LayoutTable", "rowgroup"}
_NAMED_ONLY = {"paragraph", "form", "main", "list", "listitem", "strong", "img", "banner", "navigation", "Section", "LabelText", "Legend"}
"""Said where they have a name; without one, only what they hold is."""
_SAID = ("required", "disabled", "checked", "expanded", "selected", "pressed", "valuetext")
_LONGEST_NAME = 200


@dataclass(slots=True)
class Numbers:
    """Of one document's nodes, by the browser's own number of them."""

    document: str = ""
    given: dict[int, int] = field(default_factory=dict)

    def of(self, node: int) -> int:
        return self.given.setdefault(node, len(self.given) + 1)

    def node(self, number: int) -> int | None:
        """The browser's number of a node that was shown."""
        return next((node for node, given in self.given.items() if given == number), None)


def describe(nodes: list[Mapping[str, Any]], bounds: Mapping[int, tuple[float, float]], scrolled: float, numbers: Numbers) -> str:
    """The tree as indented lines `[number] role 'name' property: value`.

    `nodes`: as Accessibility.getFullAXTree gives them; `bounds`: top and height in pixels of the nodes that are laid out; `scrolled`:
    the first visible pixel.
    """
    by_id = {node["nodeId"]: node for node in nodes}
    lines: list[str] = []
    length = 0
    for depth, node, above in _walk(by_id, nodes[0]["nodeId"] if nodes else "", 0, ""):
        backend = int(node["backendDOMNodeId"])
        role, name = node["role"]["value"], " ".join(str(node.get("name", {}).get("value", "")).split())
        if depth and not _in_view(bounds.get(backend), scrolled):
            continue
        if role == "StaticText" and (not name or name in above):
            continue
        line = "  " * depth + f"[{numbers.of(backend)}] {role} '{name[:_LONGEST_NAME]}'" + _properties(node)
        length += len(line) + 1
        if length > LONGEST:
            lines.append("(the page is longer than can be shown)")
            break
        lines.append(line)
    return "".join(char if " " <= char <= "~" or char == "\n" else "?" for char in "\n".join(lines))


def _walk(by_id: Mapping[str, Mapping[str, Any]], key: str, depth: int, above: str) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Nodes that say something, with their depth and the name of the one above, in document order."""
    pending = [(key, depth, above)]
    while pending:
        key, depth, above = pending.pop()
        node = by_id.get(key)
        if node is None:
            continue
        role = node.get("role", {}).get("value", "none")
        name = str(node.get("name", {}).get("value", ""))
        told = role not in _UNSEEN and (name or role not in _NAMED_ONLY)
        if told and not node.get("ignored") and node.get("backendDOMNodeId"):
            yield depth, node, above
            depth, above = depth + 1, name
        pending += [(child, depth, above) for child in reversed(node.get("childIds", []))]


def _in_view(bounds: tuple[float, float] | None, scrolled: float) -> bool:
    if bounds is None:
        return False
    top, height = bounds
    return height > 0 and top + height > scrolled and top < scrolled + VIEW[1]


def _properties(node: Mapping[str, Any]) -> str:
    said = {one["name"]: one["value"].get("value") for one in node.get("properties", [])}
    found = [f"{name}: {said[name]}" for name in _SAID if said.get(name) not in (None, False, "false", "")]
    if "checked" in said and said["checked"] == "false":
        found.append("checked: false")
    value = " ".join(str(node.get("value", {}).get("value", "")).split())
    return "".join(f" {one}" for one in ([f"value: '{value[:_LONGEST_NAME]}'"] if value else []) + found)

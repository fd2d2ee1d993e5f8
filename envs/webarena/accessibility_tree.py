"""A page as text: the visible part of its accessibility tree, with an id for each element.

Invariant: ids follow the order in which the elements of a page were first shown, so the same clicks give the same ids on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.printable import printable

VIEWPORT = (1280, 720)
"""Width and height in pixels."""
_MAX_CHARS = 6_000
_MAX_NAME_CHARS = 200
_IGNORED_ROLES = {"none", "generic", "InlineTextBox", "LineBreak", "LayoutTableRow", "LayoutTableCell", "LayoutTable", "rowgroup"}
_ROLES_SHOWN_WITH_NAME = {
    "paragraph", "form", "main", "list", "listitem", "strong", "img", "banner", "navigation", "Section", "LabelText", "Legend",
}  # fmt: skip
"""Without a name, only their children are shown."""
_SHOWN_PROPERTIES = ("required", "disabled", "checked", "expanded", "selected", "pressed", "valuetext")

Node = Mapping[str, Any]
"""A node as Chromium's Accessibility.getFullAXTree gives it."""


@dataclass(slots=True)
class ElementIds:
    """The ids of one document's elements, by their backend node id in Chromium."""

    document: str = ""
    ids: dict[int, int] = field(default_factory=dict)

    def assign(self, backend_node_id: int) -> int:
        """The element's id; a new one where it has none yet."""
        return self.ids.setdefault(backend_node_id, len(self.ids) + 1)

    def backend_node_id(self, element_id: int) -> int | None:
        """The backend node id of an element that was shown."""
        return next((backend_node_id for backend_node_id, assigned in self.ids.items() if assigned == element_id), None)


def tree_text(nodes: list[Node], bounds: Mapping[int, tuple[float, float]], scroll_y: float, element_ids: ElementIds) -> str:
    """The visible tree as indented lines `[id] role 'name' property: value`.

    `bounds`: (top, height) in pixels by backend node id, of the nodes that have a layout; `scroll_y`: the first visible pixel.
    """
    nodes_by_id = {node["nodeId"]: node for node in nodes}
    lines: list[str] = []
    length = 0
    for depth, node, parent_name in _walk(nodes_by_id, nodes[0]["nodeId"] if nodes else ""):
        backend_node_id = int(node["backendDOMNodeId"])
        role, name = node["role"]["value"], " ".join(str(node.get("name", {}).get("value", "")).split())
        if depth and not _is_visible(bounds.get(backend_node_id), scroll_y):
            continue
        if role == "StaticText" and (not name or name in parent_name):
            continue
        element_id = element_ids.assign(backend_node_id)
        line = "  " * depth + f"[{element_id}] {role} '{name[:_MAX_NAME_CHARS]}'" + _properties_text(node)
        length += len(line) + 1
        if length > _MAX_CHARS:
            lines.append("(the page is longer than can be shown)")
            break
        lines.append(line)
    return printable("\n".join(lines))


def _walk(nodes_by_id: Mapping[str, Node], root_id: str) -> Iterator[tuple[int, Node, str]]:
    """(depth, node, name of its parent) of the nodes to show, in document order."""
    stack = [(root_id, 0, "")]
    while stack:
        node_id, depth, parent_name = stack.pop()
        node = nodes_by_id.get(node_id)
        if node is None:
            continue
        role = node.get("role", {}).get("value", "none")
        name = str(node.get("name", {}).get("value", ""))
        is_shown = role not in _IGNORED_ROLES and (name or role not in _ROLES_SHOWN_WITH_NAME)
        if is_shown and not node.get("ignored") and node.get("backendDOMNodeId"):
            yield depth, node, parent_name
            depth, parent_name = depth + 1, name
        stack += [(child_id, depth, parent_name) for child_id in reversed(node.get("childIds", []))]


def _is_visible(bounds: tuple[float, float] | None, scroll_y: float) -> bool:
    if bounds is None:
        return False
    top, height = bounds
    return height > 0 and top + height > scroll_y and top < scroll_y + VIEWPORT[1]


def _properties_text(node: Node) -> str:
    properties = {entry["name"]: entry["value"].get("value") for entry in node.get("properties", [])}
    texts = [f"{name}: {properties[name]}" for name in _SHOWN_PROPERTIES if properties.get(name) not in (None, False, "false", "")]
    if "checked" in properties and properties["checked"] == "false":
        texts.append("checked: false")
    value = " ".join(str(node.get("value", {}).get("value", "")).split())
    return "".join(f" {text}" for text in ([f"value: '{value[:_MAX_NAME_CHARS]}'"] if value else []) + texts)

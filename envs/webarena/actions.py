"""WebArena's actions, parsed from text: `click [12]`, `type [7] [words] [1]`, `stop [answer]` and so on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from envs.functions import Function, Parameter, function

_MAX_TEXT_CHARS = 500
_ACTION_FORMATS: dict[str, str] = {
    "click": r"click \[(\d{1,6})\]",
    "hover": r"hover \[(\d{1,6})\]",
    "type": r"type \[(\d{1,6})\] \[(.*?)\](?: \[([01])\])?",
    "press": r"press \[([A-Za-z0-9+]{1,30})\]",
    "scroll": r"scroll \[(?:direction=)?(up|down)\]",
    "tab_focus": r"tab_focus \[(\d{1,3})\]",
    "new_tab": r"new_tab",
    "close_tab": r"close_tab",
    "goto": r"goto \[(.{1,300})\]",
    "go_back": r"go_back",
    "go_forward": r"go_forward",
    "stop": r"stop(?: \[(.*)\])?",
}
FUNCTIONS = (
    function("Click on an element.", "click [{id}]", id="integer"),
    Function(
        "type",
        "Replace the content of a field, and press Enter afterwards if press_enter is true.",
        ("type [{id}] [{text}] [{press_enter}]", "type [{id}] [{text}]"),
        (Parameter("id", type="integer"), Parameter("text"), Parameter("press_enter", type="boolean")),
    ),
    function("Move the pointer over an element.", "hover [{id}]", id="integer"),
    function("Press keys, such as ctrl+a.", "press [{keys}]"),
    function("Scroll the page.", "scroll [{direction}]", choices={"direction": ("down", "up")}),
    function("Open an address.", "goto [{url}]"),
    function("Go back.", "go_back"),
    function("Go forward.", "go_forward"),
    function("Open a tab.", "new_tab"),
    function("Show a tab.", "tab_focus [{number}]", number="integer"),
    function("Close the tab.", "close_tab"),
    Function("stop", "End the task; give the answer if it has one.", ("stop [{answer}]", "stop"), (Parameter("answer"),)),
)
"""The actions as functions."""
_PATTERNS = {name: re.compile(action_format, re.DOTALL | re.ASCII) for name, action_format in _ACTION_FORMATS.items()}
INVALID_ACTION_MESSAGE = (
    "That is no action. There are: click [id], type [id] [text] [0 or 1], hover [id], press [keys], scroll [up or down], goto [url], "
    "go_back, go_forward, new_tab, tab_focus [number], close_tab, stop [answer]"
)


@dataclass(frozen=True, slots=True)
class Action:
    """`arguments`: the texts in the brackets."""

    name: str
    arguments: tuple[str, ...] = ()


def parse(text: str) -> Action | None:
    """The action, or None if the text is not one."""
    text = text.strip()[: _MAX_TEXT_CHARS + 50]
    name = text.partition(" ")[0]
    match = _PATTERNS[name].fullmatch(text) if name in _PATTERNS else None
    return None if match is None else Action(name, tuple(part or "" for part in match.groups()))

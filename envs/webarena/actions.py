"""WebArena's actions, read from text: `click [12]`, `type [7] [words] [1]`, `stop [answer]` and the others."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 500
_FORMS: dict[str, str] = {
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
_READ = {name: re.compile(form, re.DOTALL | re.ASCII) for name, form in _FORMS.items()}
HELP = (
    "That is no action. There are: click [id], type [id] [text] [0 or 1], hover [id], press [keys], scroll [up or down], goto [url], "
    "go_back, go_forward, new_tab, tab_focus [number], close_tab, stop [answer]"
)


@dataclass(frozen=True, slots=True)
class Action:
    """`given`: what stands in the brackets."""

    name: str
    given: tuple[str, ...] = ()


def read(text: str) -> Action | None:
    """The action of a text, or None where it is none."""
    text = text.strip()[: LONGEST + 50]
    name = text.partition(" ")[0]
    match = _READ[name].fullmatch(text) if name in _READ else None
    return None if match is None else Action(name, tuple(part or "" for part in match.groups()))

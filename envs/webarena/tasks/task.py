"""What a task is, and the moves of the template that made it, which its expert follows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from envs.webarena.checks import Check
from envs.webarena.sites.store import Store

SEEK, NAVIGATE, CHANGE = KINDS = ("information seeking", "site navigation", "content and configuration")
"""WebArena's three kinds of intents (arXiv 2307.13854, section 3.1)."""


@dataclass(frozen=True, slots=True)
class Click:
    """On the element with this role and name; it is scrolled to where it is out of view."""

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Type:
    """Into the text box of this name."""

    name: str
    text: str
    enter: bool = False


@dataclass(frozen=True, slots=True)
class Goto:
    url: str


@dataclass(frozen=True, slots=True)
class Stop:
    answer: str = ""


Move = Click | Type | Goto | Stop


def link(name: str) -> Click:
    return Click("link", name)


def button(name: str) -> Click:
    return Click("button", name)


def radio(name: str) -> Click:
    return Click("radio", name)


@dataclass(frozen=True, slots=True)
class Task:
    """`site`: WebArena's name of where it starts; all `checks` must hold at the stop."""

    site: str
    kind: str
    intent: str
    checks: tuple[Check, ...]
    moves: tuple[Move, ...]


Template = Callable[[Store, random.Random], Task]


def one(store: Store, draw: random.Random, sql: str, *values: str | int | float) -> tuple[str | int | float | None, ...]:
    """A random row of a query that has some."""
    return draw.choice(store.rows(sql, values))

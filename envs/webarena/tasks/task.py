"""A task, and the steps of its solution, which the expert follows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from envs.webarena.sites.database import Row, SiteDatabase
from envs.webarena.success_checks import Check

INFORMATION_SEEKING, SITE_NAVIGATION, CONTENT_AND_CONFIGURATION = TASK_TYPES = (
    "information seeking",
    "site navigation",
    "content and configuration",
)
"""WebArena's three kinds of intents (arXiv 2307.13854, section 3.1)."""


@dataclass(frozen=True, slots=True)
class Click:
    """Click the element with this role and name."""

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Type:
    """Type into the text box of this name."""

    name: str
    text: str
    enter: bool = False


@dataclass(frozen=True, slots=True)
class Goto:
    url: str


@dataclass(frozen=True, slots=True)
class Stop:
    answer: str = ""


SolutionStep = Click | Type | Goto | Stop


def link(name: str) -> Click:
    return Click("link", name)


def button(name: str) -> Click:
    return Click("button", name)


def radio(name: str) -> Click:
    return Click("radio", name)


@dataclass(frozen=True, slots=True)
class Task:
    """`site`: WebArena's name of the site that it starts on; success means that all `checks` pass when the policy stops."""

    site: str
    task_type: str
    intent: str
    checks: tuple[Check, ...]
    solution: tuple[SolutionStep, ...]


Template = Callable[[SiteDatabase, random.Random], Task]
"""Draws a random task. Each is listed under the seed of its random generator, which must not change: it decides which tasks there are."""


def random_row(database: SiteDatabase, rng: random.Random, sql: str, *values: str | int | float) -> Row:
    """A random row of a query that gives at least one."""
    return rng.choice(database.execute(sql, values))

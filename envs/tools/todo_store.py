"""A user's projects and tasks: made from a seed, a copy for every episode.

Invariant: the same number gives the same account; ids look like the ten digits that such services use.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

ACCOUNTS = 12
_PROJECTS = {
    "Household": "clean the kitchen,water the plants,repair the lamp,sort the cellar,wash the curtains,order firewood",
    "Garden": "prune the roses,mow the lawn,plant the bulbs,mend the fence,sweep the leaves,feed the birds",
    "Studies": "read chapter four,write the summary,solve the exercises,prepare the talk,return the books,learn the vocabulary",
    "Office": "answer the letters,file the invoices,plan the meeting,update the budget,call the supplier,print the badges",
    "Fitness": "run by the river,swim ten lengths,stretch for an hour,cycle to the mill,lift the weights,walk the hills",
    "Travel": "book the ferry,pack the tent,renew the passport,change the money,draw the route,reserve the hut",
    "Music": "tune the piano,practise the scales,copy the score,restring the guitar,rehearse the trio,record the song",
}
CITIES = ("Norwell", "Eastham", "Brayford", "Linton", "Oakvale")
_HOW = ("before noon", "with care", "together with Ines", "as agreed", "in the evening", "without haste")


@dataclass(slots=True)
class Task:
    id: str
    content: str
    description: str
    priority: int
    due_date: str
    duration: int
    place: str


@dataclass(slots=True)
class Project:
    id: str
    name: str
    is_favorite: bool
    tasks: list[Task]


@dataclass(slots=True)
class Account:
    """`today` and `home` are the user's; `completed` are the ids of tasks that are done."""

    today: str
    home: str
    projects: list[Project]
    completed: list[str]

    def state(self) -> dict[str, Any]:
        """All that a user could have changed, as a JSON value."""
        return asdict(self)

    def project(self, key: str) -> Project | None:
        return next((project for project in self.projects if project.id == key), None)

    def task(self, key: str) -> tuple[Project, Task] | None:
        return next(((project, task) for project in self.projects for task in project.tasks if task.id == key), None)


def account(number: int) -> Account:
    """A copy of its own."""
    return deepcopy(_account(number))


@lru_cache(maxsize=None)
def _account(number: int) -> Account:
    draw = random.Random(f"account {number}")
    today = date(2024, 1, 15) + timedelta(days=draw.randrange(300))
    projects = []
    for name in draw.sample(list(_PROJECTS), 4):
        tasks = [
            Task(
                id=str(draw.randrange(7_000_000_000, 7_999_999_999)),
                content=content,
                description=f"{content} {draw.choice(_HOW)}",
                priority=draw.randrange(1, 5),
                due_date=(today + timedelta(days=draw.randrange(-12, 30))).isoformat(),
                duration=draw.randrange(1, 25) * 5,
                place=draw.choice(CITIES),
            )
            for content in draw.sample(_PROJECTS[name].split(","), draw.randrange(3, 6))
        ]
        projects.append(Project(str(draw.randrange(2_000_000_000, 2_999_999_999)), name, draw.random() < 0.4, tasks))
    return Account(today.isoformat(), draw.choice(CITIES), projects, [])

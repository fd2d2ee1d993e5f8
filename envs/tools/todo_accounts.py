"""A user's account with projects and tasks, generated from a seed.

Invariant: the same number gives an equal account, and every call a separate copy.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

NUM_ACCOUNTS = 12
_TASKS_BY_PROJECT = {
    "Household": "clean the kitchen,water the plants,repair the lamp,sort the cellar,wash the curtains,order firewood",
    "Garden": "prune the roses,mow the lawn,plant the bulbs,mend the fence,sweep the leaves,feed the birds",
    "Studies": "read chapter four,write the summary,solve the exercises,prepare the talk,return the books,learn the vocabulary",
    "Office": "answer the letters,file the invoices,plan the meeting,update the budget,call the supplier,print the badges",
    "Fitness": "run by the river,swim ten lengths,stretch for an hour,cycle to the mill,lift the weights,walk the hills",
    "Travel": "book the ferry,pack the tent,renew the passport,change the money,draw the route,reserve the hut",
    "Music": "tune the piano,practise the scales,copy the score,restring the guitar,rehearse the trio,record the song",
}
_CITIES = ("Norwell", "Eastham", "Brayford", "Linton", "Oakvale")
_MANNERS = ("before noon", "with care", "together with Ines", "as agreed", "in the evening", "without haste")


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
    """`today` and `user_city`: the user's date and location; `completed`: the ids of completed tasks."""

    today: str
    user_city: str
    projects: list[Project]
    completed: list[str]

    def state(self) -> dict[str, Any]:
        """All fields as a JSON value."""
        return asdict(self)

    def project(self, id_: str) -> Project | None:
        return next((project for project in self.projects if project.id == id_), None)

    def task(self, id_: str) -> tuple[Project, Task] | None:
        return next(((project, task) for project in self.projects for task in project.tasks if task.id == id_), None)


def new_account(number: int) -> Account:
    """A copy of the account of this number, for one episode to change."""
    return deepcopy(_generate_account(number))


@lru_cache(maxsize=None)
def _generate_account(number: int) -> Account:
    rng = random.Random(f"account {number}")
    today = date(2024, 1, 15) + timedelta(days=rng.randrange(300))
    projects = []
    for name in rng.sample(list(_TASKS_BY_PROJECT), 4):
        tasks = [
            Task(
                id=str(rng.randrange(7_000_000_000, 7_999_999_999)),
                content=content,
                description=f"{content} {rng.choice(_MANNERS)}",
                priority=rng.randrange(1, 5),
                due_date=(today + timedelta(days=rng.randrange(-12, 30))).isoformat(),
                duration=rng.randrange(1, 25) * 5,
                place=rng.choice(_CITIES),
            )
            for content in rng.sample(_TASKS_BY_PROJECT[name].split(","), rng.randrange(3, 6))
        ]
        projects.append(Project(str(rng.randrange(2_000_000_000, 2_999_999_999)), name, rng.random() < 0.4, tasks))
    return Account(today.isoformat(), rng.choice(_CITIES), projects, [])

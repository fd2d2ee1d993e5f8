"""The templates of TODO's questions and changes, each with the calls that solve it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from envs.tools.answers import AnyOf
from envs.tools.problem import Call
from envs.tools.todo_accounts import Account, Project

DONE = "done"
"""The answer to finish a change with."""

TemplateOutput = tuple[str, int, Callable[[Call], Any]]
"""(text of the problem, number of calls, solution)"""
Template = Callable[[random.Random, Account], TemplateOutput]


def _find_tasks(call: Call, name: str) -> list[dict[str, Any]]:
    projects = call("I need the id of the project.", "get_projects")
    id_ = next(project["id"] for project in projects if project["name"] == name)
    return list(call(f"Now the tasks of {name}.", "get_tasks", project_id=id_))


def _random_task(rng: random.Random, account: Account) -> tuple[Project, str]:
    project = rng.choice(account.projects)
    return project, rng.choice(project.tasks).content


def _find_id(tasks: list[dict[str, Any]], content: str) -> str:
    return str(next(task["id"] for task in tasks if task["content"] == content))


def count_by_priority(rng: random.Random, account: Account) -> TemplateOutput:
    project, priority = rng.choice(account.projects), rng.randrange(1, 5)

    def solve(call: Call) -> Any:
        return sum(task["priority"] >= priority for task in _find_tasks(call, project.name))

    return f"How many tasks of {project.name} have priority {priority} or higher?", 2, solve


def task_duration(rng: random.Random, account: Account) -> TemplateOutput:
    project, content = _random_task(rng, account)

    def solve(call: Call) -> Any:
        id_ = _find_id(_find_tasks(call, project.name), content)
        return int(call("Now its duration.", "get_task_duration", task_id=id_).split()[0])

    return f"How many minutes does the task '{content}' of {project.name} take?", 3, solve


def task_description(rng: random.Random, account: Account) -> TemplateOutput:
    project, content = _random_task(rng, account)

    def solve(call: Call) -> Any:
        return call("Now its description.", "get_task_description", task_id=_find_id(_find_tasks(call, project.name), content))

    return f"What is the description of the task '{content}' of {project.name}?", 3, solve


def first_or_last_due(rng: random.Random, account: Account) -> TemplateOutput:
    project, last = rng.choice(account.projects), rng.random() < 0.5

    def solve(call: Call) -> Any:
        tasks = _find_tasks(call, project.name)
        due = (max if last else min)(tasks, key=lambda task: (task["due_date"], task["id"]))
        return AnyOf.of(due["content"], (task["content"] for task in tasks if task["due_date"] == due["due_date"]))

    return f"Which task of {project.name} is due {'last' if last else 'first'}?", 2, solve


def count_overdue(rng: random.Random, account: Account) -> TemplateOutput:
    project = rng.choice(account.projects)

    def solve(call: Call) -> Any:
        today = call("I need today's date.", "get_user_current_date")
        return sum(task["due_date"] < today for task in _find_tasks(call, project.name))

    return f"How many tasks of {project.name} are overdue today?", 3, solve


def tasks_at_user_location(rng: random.Random, account: Account) -> TemplateOutput:
    project = rng.choice(account.projects)

    def solve(call: Call) -> Any:
        user_city = call("I need to know where the user is.", "get_user_current_location")
        return [task["content"] for task in _find_tasks(call, project.name) if task["place"] == user_city]

    return f"Which tasks of {project.name} can be done where I am? Give a list, which may be empty.", 3, solve


def complete_task(rng: random.Random, account: Account) -> TemplateOutput:
    project, content = _random_task(rng, account)

    def solve(call: Call) -> str:
        call("Now I complete it.", "complete_task", task_id=_find_id(_find_tasks(call, project.name), content))
        return DONE

    return f"Complete the task '{content}' of {project.name}.", 3, solve


def postpone_task(rng: random.Random, account: Account) -> TemplateOutput:
    project, content = _random_task(rng, account)
    days = rng.randrange(1, 15)

    def solve(call: Call) -> str:
        today = date.fromisoformat(call("I need today's date.", "get_user_current_date"))
        id_ = _find_id(_find_tasks(call, project.name), content)
        call("Now the new date.", "update_task", task_id=id_, due_date=(today + timedelta(days=days)).isoformat())
        return DONE

    return f"Make the task '{content}' of {project.name} due in {days} days from today.", 4, solve


def delete_lowest_priority(rng: random.Random, account: Account) -> TemplateOutput:
    project = rng.choice(account.projects)
    priority = min(task.priority for task in project.tasks)

    def solve(call: Call) -> str:
        for task in _find_tasks(call, project.name):
            if task["priority"] == priority:
                call(f"The task {task['content']} has that priority.", "delete_task", task_id=task["id"])
        return DONE

    return f"Delete the tasks of {project.name} with priority {priority}.", 3, solve


def change_favourite(rng: random.Random, account: Account) -> TemplateOutput:
    target = rng.choice(account.projects)
    make_favourite = not target.is_favorite

    def solve(call: Call) -> str:
        projects = call("I need the id of the project.", "get_projects")
        id_ = next(project["id"] for project in projects if project["name"] == target.name)
        call("Now I change it.", "update_project", project_id=id_, is_favorite=make_favourite)
        return DONE

    return f"Make {target.name} {'a favourite' if make_favourite else 'no favourite any more'}.", 2, solve


TEMPLATES: tuple[Template, ...] = (
    count_by_priority,
    task_duration,
    task_description,
    first_or_last_due,
    count_overdue,
    tasks_at_user_location,
    complete_task,
    postpone_task,
    delete_lowest_priority,
    change_favourite,
)

"""TODO: questions about a user's tasks, and changes to them, with tools.

Invariant: an episode works on its own copy of an account; how it ends is judged by the answer and by the state of that copy.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.base import Problem, ToolEnv, ToolError, tool
from envs.tools.todo_store import ACCOUNTS, Account, Project, Task, account
from envs.tools.values import same_answer

DONE = "done"


class Todo(ToolEnv):
    """A user's projects and tasks, after AgentBoard's tool-operation tasks as AgentGym serves them.

    Observation: the goal first, then what each tool gave, as JSON. Actions: one call a round, `name with Action Input: {...}`; the tools
    and their arguments are those of AgentGym's todo environment. Reward: 1 when `finish` is given the right answer and the account is as it
    should be (a question must change nothing), else 0; it ends the episode. For a change the answer is "done". At most 15 rounds.
    Instructions: 155 over twelve accounts from ten templates, 20 of them eval; difficulty is the number of calls.

    Where it differs from AgentGym's, and why:
    - The accounts are made from a seed and every episode has its own copy; there, one account of a live service, which every reset empties.
    - The answer counts when it is given with `finish`, and only that call ends an episode; arguments are parsed, not evaluated.
    - Tasks have the place where they are done, so that a question can speak of where the user is.
    """

    name: ClassVar[str] = "todo"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("todo",)
    sizes: ClassVar[Sizes] = Sizes(instructions=155, eval=20, agent_traj=70, agent_traj_l=135)
    max_rounds: ClassVar[int] = 15
    intro: ClassVar[str] = (
        'Answer the question about the user\'s tasks, or make the change and finish with "done". Dates look like 2024-05-31.'
    )

    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        return _problems()

    account: Account
    wanted: dict[str, Any]
    """The state of the account after the problem's own solution."""

    def prepare(self, problem: Problem) -> None:
        self.account = account(int(problem.home))

    def solved(self) -> None:
        self.wanted = self.account.state()

    def judge(self, answer: Any) -> float:
        return float(same_answer(answer, self.gold) and self.account.state() == self.wanted)

    @tool
    def get_user_current_date(self) -> str:
        """today's date"""
        return self.account.today

    @tool
    def get_user_current_location(self) -> str:
        """the city the user is in"""
        return self.account.home

    @tool
    def get_projects(self) -> list[dict[str, Any]]:
        """all projects with their ids"""
        return [{"id": project.id, "name": project.name, "is_favorite": project.is_favorite} for project in self.account.projects]

    @tool
    def update_project(self, project_id: str, is_favorite: bool) -> str:
        """make a project a favourite or not"""
        self._project(project_id).is_favorite = is_favorite
        return "The project is updated."

    @tool
    def get_tasks(self, project_id: str) -> list[dict[str, Any]]:
        """the open tasks of a project"""
        tasks = self._project(project_id).tasks
        return [
            {"id": task.id, "content": task.content, "priority": task.priority, "due_date": task.due_date, "place": task.place}
            for task in tasks
        ]

    @tool
    def get_task_description(self, task_id: str) -> str:
        """how a task is to be done"""
        return self._task(task_id)[1].description

    @tool
    def get_task_duration(self, task_id: str) -> str:
        """minutes that a task takes"""
        return f"{self._task(task_id)[1].duration} minutes"

    @tool
    def complete_task(self, task_id: str) -> str:
        """mark a task as done"""
        project, task = self._task(task_id)
        project.tasks.remove(task)
        self.account.completed.append(task.id)
        return "The task is completed."

    @tool
    def update_task(self, task_id: str, due_date: str) -> str:
        """give a task another date"""
        try:
            self._task(task_id)[1].due_date = date.fromisoformat(due_date.strip()).isoformat()
        except ValueError as error:
            if isinstance(error, ToolError):
                raise
            raise ToolError("A date looks like 2024-05-31.") from None
        return "The task is updated."

    @tool
    def delete_task(self, task_id: str) -> str:
        """remove a task"""
        project, task = self._task(task_id)
        project.tasks.remove(task)
        return "The task is deleted."

    def _project(self, key: str) -> Project:
        found = self.account.project(key.strip())
        if found is None:
            raise ToolError("There is no project of that id; get_projects gives ids.")
        return found

    def _task(self, key: str) -> tuple[Project, Task]:
        found = self.account.task(key.strip())
        if found is None:
            raise ToolError("There is no open task of that id; get_tasks gives ids.")
        return found


Call = Callable[..., Any]
Template = Callable[[random.Random, Account], tuple[str, int, Callable[[Call], Any]]]


def _tasks(call: Call, name: str) -> list[dict[str, Any]]:
    projects = call("I need the id of the project.", "get_projects")
    key = next(project["id"] for project in projects if project["name"] == name)
    return list(call(f"Now the tasks of {name}.", "get_tasks", project_id=key))


def _pick(draw: random.Random, own: Account) -> tuple[Project, str]:
    project = draw.choice(own.projects)
    return project, draw.choice(project.tasks).content


def _id(tasks: list[dict[str, Any]], content: str) -> str:
    return str(next(task["id"] for task in tasks if task["content"] == content))


def _how_many(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, priority = draw.choice(own.projects), draw.randrange(1, 5)

    def solve(call: Call) -> Any:
        return sum(task["priority"] >= priority for task in _tasks(call, project.name))

    return f"How many tasks of {project.name} have priority {priority} or higher?", 2, solve


def _duration(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, content = _pick(draw, own)

    def solve(call: Call) -> Any:
        key = _id(_tasks(call, project.name), content)
        return int(call("Now its duration.", "get_task_duration", task_id=key).split()[0])

    return f"How many minutes does the task '{content}' of {project.name} take?", 3, solve


def _description(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, content = _pick(draw, own)

    def solve(call: Call) -> Any:
        return call("Now its description.", "get_task_description", task_id=_id(_tasks(call, project.name), content))

    return f"What is the description of the task '{content}' of {project.name}?", 3, solve


def _due_first(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, last = draw.choice(own.projects), draw.random() < 0.5

    def solve(call: Call) -> Any:
        tasks = _tasks(call, project.name)
        return (max if last else min)(tasks, key=lambda task: (task["due_date"], task["id"]))["content"]

    return f"Which task of {project.name} is due {'last' if last else 'first'}?", 2, solve


def _overdue(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project = draw.choice(own.projects)

    def solve(call: Call) -> Any:
        today = call("I need today's date.", "get_user_current_date")
        return sum(task["due_date"] < today for task in _tasks(call, project.name))

    return f"How many tasks of {project.name} are overdue today?", 3, solve


def _here(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project = draw.choice(own.projects)

    def solve(call: Call) -> Any:
        home = call("I need to know where the user is.", "get_user_current_location")
        return [task["content"] for task in _tasks(call, project.name) if task["place"] == home]

    return f"Which tasks of {project.name} can be done where I am? Give a list, which may be empty.", 3, solve


def _complete(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, content = _pick(draw, own)

    def solve(call: Call) -> str:
        call("Now I complete it.", "complete_task", task_id=_id(_tasks(call, project.name), content))
        return DONE

    return f"Complete the task '{content}' of {project.name}.", 3, solve


def _postpone(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project, content = _pick(draw, own)
    days = draw.randrange(1, 15)

    def solve(call: Call) -> str:
        today = date.fromisoformat(call("I need today's date.", "get_user_current_date"))
        key = _id(_tasks(call, project.name), content)
        call("Now the new date.", "update_task", task_id=key, due_date=(today + timedelta(days=days)).isoformat())
        return DONE

    return f"Make the task '{content}' of {project.name} due in {days} days from today.", 4, solve


def _delete_low(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project = draw.choice(own.projects)
    priority = min(task.priority for task in project.tasks)

    def solve(call: Call) -> str:
        for task in _tasks(call, project.name):
            if task["priority"] == priority:
                call(f"The task {task['content']} has that priority.", "delete_task", task_id=task["id"])
        return DONE

    return f"Delete the tasks of {project.name} with priority {priority}.", 3, solve


def _favourite(draw: random.Random, own: Account) -> tuple[str, int, Callable[[Call], Any]]:
    project = draw.choice(own.projects)
    wanted = not project.is_favorite

    def solve(call: Call) -> str:
        projects = call("I need the id of the project.", "get_projects")
        key = next(one["id"] for one in projects if one["name"] == project.name)
        call("Now I change it.", "update_project", project_id=key, is_favorite=wanted)
        return DONE

    return f"Make {project.name} {'a favourite' if wanted else 'no favourite any more'}.", 2, solve


_TEMPLATES: tuple[Template, ...] = (
    _how_many,
    _duration,
    _description,
    _due_first,
    _overdue,
    _here,
    _complete,
    _postpone,
    _delete_low,
    _favourite,
)


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    """Accounts and templates take turns. A text occurs once, whatever the account, so that none is in eval and in training."""
    draw = random.Random("todo problems")
    found: dict[str, Problem] = {}
    turn = 0
    while len(found) < Todo.sizes.instructions:
        number = turn % ACCOUNTS
        text, calls, solve = _TEMPLATES[(turn // ACCOUNTS) % len(_TEMPLATES)](draw, account(number))
        found.setdefault(text, Problem(text, f"{calls} calls", solve, home=str(number)))
        turn += 1
    return tuple(found.values())

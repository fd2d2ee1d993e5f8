"""TODO: questions about a user's tasks, and changes to them, with tools.

Invariant: an episode works on its own copy of an account; the reward depends on the answer and on the final state of that copy.
"""

from __future__ import annotations

import random
from datetime import date
from functools import lru_cache
from typing import Any, ClassVar

from envs.base import Sizes
from envs.tools.answers import same_answer
from envs.tools.base import ToolEnv, ToolError, tool
from envs.tools.problem import Problem
from envs.tools.todo_accounts import NUM_ACCOUNTS, Account, Project, Task, new_account
from envs.tools.todo_problems import TEMPLATES


class Todo(ToolEnv):
    """A user's projects and tasks, after AgentBoard's tool-operation tasks as AgentGym serves them.

    Observation: first the goal, then the result of each call, as JSON. Actions: one call per round, `name with Action Input: {...}`; the
    tools and their arguments are those of AgentGym's todo environment. Reward: 1 if `finish` gets the right answer and the account has the
    state that the solution leads to (a question must change nothing), else 0; it ends the episode. The answer to a change is "done". At
    most 15 rounds. Instructions: 155 over twelve accounts from ten templates, 20 of them eval; difficulty is the number of calls.

    Differences from AgentGym's environment:
    - The accounts are generated from a seed, and every episode has its own copy; AgentGym uses one account of a live service, which
      every reset empties.
    - Only `finish` gives an answer and ends an episode; arguments are parsed, not evaluated.
    - Tasks have a place, so that a question can refer to the user's location.
    """

    name: ClassVar[str] = "todo"
    version: ClassVar[int] = 2
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
    target_state: dict[str, Any]
    """The state of the account after the problem's solution."""

    def reset_state(self, problem: Problem) -> None:
        self.account = new_account(int(problem.initial_state))

    def record_solved_state(self) -> None:
        self.target_state = self.account.state()

    def answer_reward(self, answer: Any) -> float:
        return float(same_answer(answer, self.gold_answer) and self.account.state() == self.target_state)

    @tool
    def get_user_current_date(self) -> str:
        """today's date"""
        return self.account.today

    @tool
    def get_user_current_location(self) -> str:
        """the city the user is in"""
        return self.account.user_city

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

    def _project(self, id_: str) -> Project:
        project = self.account.project(id_.strip())
        if project is None:
            raise ToolError("There is no project of that id; get_projects gives ids.")
        return project

    def _task(self, id_: str) -> tuple[Project, Task]:
        project_and_task = self.account.task(id_.strip())
        if project_and_task is None:
            raise ToolError("There is no open task of that id; get_tasks gives ids.")
        return project_and_task


@lru_cache(maxsize=None)
def _problems() -> tuple[Problem, ...]:
    """Accounts and templates take turns. Texts are distinct across accounts, so that no text is both in eval and in training."""
    rng = random.Random("todo problems")
    problems: dict[str, Problem] = {}
    turn = 0
    while len(problems) < Todo.sizes.instructions:
        account_number = turn % NUM_ACCOUNTS
        template = TEMPLATES[(turn // NUM_ACCOUNTS) % len(TEMPLATES)]
        text, num_calls, solve = template(rng, new_account(account_number))
        problems.setdefault(text, Problem(text, f"{num_calls} calls", solve, initial_state=str(account_number)))
        turn += 1
    return tuple(problems.values())

"""What the tool environments share: tools as methods, calls as text, an answer that is judged once.

Invariant: what a policy writes is parsed as JSON or as Python literals and never evaluated; only `finish` ends an episode, and only what it
is given counts.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from envs.base import Expert, Instruction, InvalidAction, TextEnv, UnknownItem, split_off_eval
from envs.tools.values import BadArguments, arguments_of, as_json, fitted, same_answer

_CALL = re.compile(r"[`'\" ]*([A-Za-z_]\w{0,60})[`'\" ]*(?:with\s+Action Input:\s*(.*))?", re.DOTALL)
_LONGEST_RESULT = 1_000
_FORM = 'Action: name with Action Input: {"argument": value}'

_Tool = TypeVar("_Tool", bound=Callable[..., Any])


class ToolError(ValueError):
    """A call that asks for what is not there; its message is what the policy is told."""


def tool(method: _Tool) -> _Tool:
    """Makes a method of a ToolEnv a tool: its name, its parameters and the first line of its docstring are what the policy is told."""
    method.is_tool = True  # type: ignore[attr-defined]
    return method


@dataclass(frozen=True, slots=True)
class Problem:
    """One instruction. `solve` finds the answer by calling tools through `call(thought, tool, **arguments) -> result`."""

    text: str
    difficulty: str
    solve: Callable[[Callable[..., Any]], Any]
    today: str = ""
    home: str = ""


class ToolEnv(TextEnv):
    """Base of the tool environments. Subclasses set the card and `intro`, declare tools, and override `problems`."""

    intro: ClassVar[str]
    """What the tools are about, in a sentence."""
    tools: ClassVar[Mapping[str, inspect.Signature]]

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        methods = {name: method for kind in reversed(cls.__mro__) for name, method in vars(kind).items() if hasattr(method, "is_tool")}
        cls.tools = {name: inspect.signature(method, eval_str=True) for name, method in methods.items()}
        lines = [f"{name}({', '.join(list(cls.tools[name].parameters)[1:])}): {_summary(method)}" for name, method in methods.items()]
        cls.prompt = (
            f"{getattr(cls, 'intro', '')}\nTools:\n" + "\n".join(lines) + "\nAnswer with one thought and one call each turn:\n"
            f"Thought: ...\n{_FORM}"
        )

    # --- hooks -------------------------------------------------------------------------------------------------------
    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        """All problems; the place in this order is the number in the item id."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> None:
        """Set the episode's own state up, where the tools have any."""

    def solved(self) -> None:
        """Take note of the state that the problem's own solution has led to, where it counts."""

    def judge(self, answer: Any) -> float:
        """The reward for finishing with `answer`."""
        return float(same_answer(answer, self.gold))

    # --- tools that every environment has ----------------------------------------------------------------------------
    @tool
    def check_valid_actions(self) -> list[str]:
        """the tools' names"""
        return list(self.tools)

    @tool
    def finish(self, answer: Any) -> None:
        """give the answer (a value or a list), which ends the task"""

    # --- the contract ------------------------------------------------------------------------------------------------
    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue(cls)  # type: ignore[arg-type]  # a class is hashable, mypy looks at its instances

    def begin(self, item_id: str) -> str:
        number = re.fullmatch(rf"{self.name}_(0|[1-9][0-9]{{0,8}})", item_id)
        if number is None or int(number[1]) >= len(self.problems()):
            raise UnknownItem(
                f"{self.name} has no instruction {item_id!r}; there are {self.name}_0 to {self.name}_{len(self.problems()) - 1}"
            )
        self.problem = self.problems()[int(number[1])]
        self.prepare(self.problem)
        self.way, self.gold = self._solve()
        self.solved()
        self.prepare(self.problem)  # solving may have changed what the tools work on
        return f"Goal: {self.problem.text}"

    def act(self, action: str) -> tuple[str, float, bool]:
        try:
            name, given = self._read(action)
        except BadArguments as error:
            return str(error), 0.0, False
        if name == "finish":
            return "You have given your answer.", self.judge(given["answer"]) if "answer" in given else self.judge(None), True
        try:
            return _told(getattr(self, name)(**given)), 0.0, False
        except ToolError as error:
            return _told(str(error)), 0.0, False

    def expert(self) -> Expert:
        return Solver(self.way, self.gold)

    @classmethod
    def parse_action(cls, text: str) -> str:
        """What stands after the one `Action:`, on one line. Raises InvalidAction."""
        _, *after = text.split("Action:")
        if len(after) != 1 or not after[0].strip():
            raise InvalidAction(f"Give exactly one action, in the form:\nThought: ...\n{_FORM}")
        return " ".join(after[0].split())

    # --- machinery ---------------------------------------------------------------------------------------------------
    def _read(self, action: str) -> tuple[str, dict[str, Any]]:
        """The tool and its checked arguments. Raises BadArguments."""
        found = _CALL.fullmatch(action.strip())
        if found is None:
            raise BadArguments(f"This is no call. The form is: {_FORM.removeprefix('Action: ')}")
        name = found[1]
        if name not in self.tools:
            raise BadArguments(f"There is no tool of that name. Tools: {', '.join(self.tools)}")
        parameters = list(self.tools[name].parameters.values())[1:]
        given = arguments_of(found[2] or "{}")
        names = [parameter.name for parameter in parameters]
        if unknown := [one for one in given if one not in names]:
            raise BadArguments(f"{name} has no argument {as_json(unknown[0])[:60]}; its arguments: {', '.join(names) or 'none'}")
        missing = [parameter.name for parameter in parameters if parameter.name not in given and parameter.default is parameter.empty]
        if missing and name != "finish":
            raise BadArguments(f"{name} needs {', '.join(missing)}")
        kinds = {parameter.name: parameter.annotation for parameter in parameters}
        return name, {one: fitted(value, kinds[one], f"{name}: {one}") for one, value in given.items()}

    def _solve(self) -> tuple[list[tuple[str, str]], Any]:
        way: list[tuple[str, str]] = []

        def call(thought: str, name: str, /, **arguments: Any) -> Any:
            way.append((thought, f"{name} with Action Input: {as_json(arguments)}"))
            return getattr(self, name)(**arguments)

        return way, self.problem.solve(call)


class Solver:
    """Makes the calls that the problem's own solution makes, then gives the answer."""

    def __init__(self, way: list[tuple[str, str]], answer: Any) -> None:
        self._way, self._answer = iter(way), answer

    def act(self, observation: str) -> tuple[str, str]:
        last = ("I have what was asked for.", f"finish with Action Input: {as_json({'answer': self._answer})}")
        return next(self._way, last)


def _summary(method: Callable[..., Any]) -> str:
    return (inspect.getdoc(method) or "").splitlines()[0].rstrip(".")


def _told(result: Any) -> str:
    text = result if isinstance(result, str) else as_json(result)
    text = "".join(char if " " <= char <= "~" or char == "\n" else "?" for char in text)
    return text if len(text) <= _LONGEST_RESULT else f"{text[:_LONGEST_RESULT]} ... ({len(text)} characters in all; ask for less)"


@lru_cache(maxsize=None)
def _catalogue(cls: type[ToolEnv]) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"{cls.name}_{number}", cls.name, cls.name, problem.difficulty, problem.text)
        for number, problem in enumerate(cls.problems())
    ]
    return split_off_eval(everything, cls.sizes.eval, salt=f"{cls.name} eval")

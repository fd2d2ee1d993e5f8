"""The base of the tool environments: tools are methods, the policy writes calls as text, and its final answer gets the reward.

Invariant: the policy's text is parsed as JSON or as Python literals and never evaluated; only `finish` ends an episode and gives a reward.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from envs.base import ActionForm, Expert, Instruction, TextEnv, UnknownItem, split_off_eval
from envs.printable import printable
from envs.tools.answers import same_answer
from envs.tools.arguments import InvalidArguments, as_json, convert_argument, parse_arguments, standard_call
from envs.tools.expert import SolutionExpert
from envs.tools.functions import tool_function
from envs.tools.problem import Problem

_CALL_PATTERN = re.compile(r"[`'\" ]*([A-Za-z_]\w{0,60})[`'\" ]*(?:with\s+Action Input:\s*(.*))?", re.DOTALL)
_MAX_RESULT_CHARS = 1_000
_ACTION_FORMAT = 'Action: name with Action Input: {"argument": value}'

_Tool = TypeVar("_Tool", bound=Callable[..., Any])


class ToolError(ValueError):
    """A call that cannot be carried out. The policy reads the message."""


def tool(method: _Tool) -> _Tool:
    """Decorator: makes a method of a ToolEnv a tool. The prompt shows its name, its parameters and the first line of its docstring."""
    method.is_tool = True  # type: ignore[attr-defined]
    return method


class ToolEnv(TextEnv):
    """Base of the tool environments. Subclasses set the card and `intro`, declare tools, and override `problems`."""

    intro: ClassVar[str]
    """The first sentence of the prompt: the subject of the tools."""
    tools: ClassVar[Mapping[str, inspect.Signature]]
    action_form: ClassVar[ActionForm] = ActionForm(_ACTION_FORMAT, multiline=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        methods = {name: method for base in reversed(cls.__mro__) for name, method in vars(base).items() if hasattr(method, "is_tool")}
        cls.tools = {name: inspect.signature(method, eval_str=True) for name, method in methods.items()}
        cls.functions = tuple(tool_function(name, _description(method), cls.tools[name]) for name, method in methods.items())
        lines = [f"{name}({', '.join(list(cls.tools[name].parameters)[1:])}): {_description(method)}" for name, method in methods.items()]
        cls.prompt = (
            f"{getattr(cls, 'intro', '')}\nTools:\n" + "\n".join(lines) + "\nAnswer with one thought and one call each turn:\n"
            f"Thought: ...\n{_ACTION_FORMAT}"
        )

    # --- hooks -------------------------------------------------------------------------------------------------------
    @classmethod
    def problems(cls) -> tuple[Problem, ...]:
        """All problems; the position of a problem is the number in its item id."""
        raise NotImplementedError

    def reset_state(self, problem: Problem) -> None:
        """Set up the state that the tools read and change, if they have one."""

    def record_solved_state(self) -> None:
        """Keep the state after the problem's solution as the target, if the reward depends on it."""

    def answer_reward(self, answer: Any) -> float:
        """The reward for finishing with `answer`."""
        return float(same_answer(answer, self.gold_answer))

    def measure_progress(self) -> float:
        """The share of the solution's calls that were made with the same arguments; `finish` with the right answer is one more."""
        made = len(self.solution) - self._calls_to_make.total()
        return made / (len(self.solution) + 1)

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
        match = re.fullmatch(rf"{self.name}_(0|[1-9][0-9]{{0,8}})", item_id)
        if match is None or int(match[1]) >= len(self.problems()):
            raise UnknownItem(
                f"{self.name} has no instruction {item_id!r}; there are {self.name}_0 to {self.name}_{len(self.problems()) - 1}"
            )
        self.problem = self.problems()[int(match[1])]
        self.reset_state(self.problem)
        self.solution, self.gold_answer = self._solve()
        self.record_solved_state()
        self.reset_state(self.problem)  # the solution may have changed it
        self._calls_to_make = Counter(self._call_key(*self._parse_call(action)) for _, action in self.solution)
        return f"Goal: {self.problem.text}"

    def act(self, action: str) -> tuple[str, float, bool]:
        try:
            name, arguments = self._parse_call(action)
        except InvalidArguments as error:
            return str(error), 0.0, False
        if name == "finish":
            return "You have given your answer.", self.answer_reward(arguments.get("answer")), True
        try:
            result = getattr(self, name)(**arguments)
        except ToolError as error:
            return _result_text(str(error)), 0.0, False
        self._calls_to_make -= Counter([self._call_key(name, arguments)])  # a count does not fall below 0
        return _result_text(result), 0.0, False

    def expert(self) -> Expert:
        return SolutionExpert(self.solution, self.gold_answer)

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The call after `Action:`, joined into one line. Raises InvalidAction."""
        return standard_call(" ".join(super().parse_action(text).split()))

    # --- machinery ---------------------------------------------------------------------------------------------------
    def _parse_call(self, action: str) -> tuple[str, dict[str, Any]]:
        """The tool's name and its converted arguments. Raises InvalidArguments."""
        match = _CALL_PATTERN.fullmatch(action.strip())
        if match is None:
            raise InvalidArguments(f"This is no call. The form is: {_ACTION_FORMAT.removeprefix('Action: ')}")
        name = match[1]
        if name not in self.tools:
            raise InvalidArguments(f"There is no tool of that name. Tools: {', '.join(self.tools)}")
        parameters = list(self.tools[name].parameters.values())[1:]
        arguments = parse_arguments(match[2] or "{}")
        names = [parameter.name for parameter in parameters]
        if unknown := [argument for argument in arguments if argument not in names]:
            raise InvalidArguments(f"{name} has no argument {as_json(unknown[0])[:60]}; its arguments: {', '.join(names) or 'none'}")
        missing = [parameter.name for parameter in parameters if parameter.name not in arguments and parameter.default is parameter.empty]
        if missing and name != "finish":
            raise InvalidArguments(f"{name} needs {', '.join(missing)}")
        types = {parameter.name: parameter.annotation for parameter in parameters}
        return name, {argument: convert_argument(value, types[argument], f"{name}: {argument}") for argument, value in arguments.items()}

    def _call_key(self, name: str, arguments: dict[str, Any]) -> str:
        """A call as text: equal for equal calls, also if one leaves out what the tool has a default for."""
        parameters = list(self.tools[name].parameters.values())[1:]
        defaults = {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}
        return f"{name} {as_json(dict(sorted((defaults | arguments).items())))}"

    def _solve(self) -> tuple[list[tuple[str, str]], Any]:
        """The solution's (thought, action) pairs, and its answer."""
        solution: list[tuple[str, str]] = []

        def call(thought: str, name: str, /, **arguments: Any) -> Any:
            solution.append((thought, f"{name} with Action Input: {as_json(arguments)}"))
            return getattr(self, name)(**arguments)

        return solution, self.problem.solve(call)


def _description(method: Callable[..., Any]) -> str:
    return (inspect.getdoc(method) or "").splitlines()[0].rstrip(".")


def _result_text(result: Any) -> str:
    text = result if isinstance(result, str) else as_json(result)
    text = printable(text)
    return text if len(text) <= _MAX_RESULT_CHARS else f"{text[:_MAX_RESULT_CHARS]} ... ({len(text)} characters in all; ask for less)"


@lru_cache(maxsize=None)
def _catalogue(cls: type[ToolEnv]) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"{cls.name}_{number}", cls.name, cls.name, problem.difficulty, problem.text)
        for number, problem in enumerate(cls.problems())
    ]
    return split_off_eval(everything, cls.sizes.eval, salt=f"{cls.name} eval")

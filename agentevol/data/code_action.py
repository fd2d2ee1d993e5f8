"""Answers that call a function in Python: their text and their parser.

After AgentGym's `code_as_action`, whose client evaluates the code. Invariant: the code is parsed and never evaluated; only a call of one of
the environment's functions with constants as arguments is an action.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from agentevol.data.function_calling import Call, action_given_by, call_giving, rules
from envs.base import InvalidAction, TextEnv
from envs.functions import Function
from envs.printable import printable_line

INSTRUCTION = "Answer with one thought and one Python call each turn."
"""The last line but the form of a prompt of this format; a conversation whose first message has it is one of this format."""
CODE_FORM = "Thought: ...\n```python\nname(argument=value)\n```"

_PYTHON_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "any": "object"}
_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\r?\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_MAX_CODE_CHARS = 4_000  # Python's parser needs much memory for a long expression
_MAX_DEPTH = 100  # Python parses deeper expressions (a.a.a.a ...), but its functions for the result call themselves for every level
_MAX_NUMBER = 1e15
_WRAPPERS = ("print", "return")


def prompt(env: type[TextEnv] | TextEnv) -> str:
    """The environment's rules, its functions as Python signatures, and the form of an answer."""
    return f"{rules(env)}\nFunctions:\n" + "\n".join(map(_signature, env.functions)) + f"\n{INSTRUCTION}\n{CODE_FORM}"


def format_code(thought: str, name: str, arguments: dict[str, Any]) -> str:
    """An answer with one call."""
    call = f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
    return f"Thought: {thought}\n```python\n{call}\n```"


def format_answer(env: type[TextEnv] | TextEnv, thought: str, action: str) -> str:
    """An answer whose call gives exactly this action. Raises NotACall."""
    return format_code(thought, *call_giving(env, action))


def parse_action(env: type[TextEnv] | TextEnv, text: str) -> str:
    """The action of the one call in an answer. Raises InvalidAction, whose message tells the policy what was understood."""
    return action_given_by(env, parse_code(text, env.functions), _remedy())


def parse_code(text: str, functions: tuple[Function, ...]) -> Call:
    """The one call in an answer: (name, arguments). Raises InvalidAction.

    Read are the blocks between ``` and ```, or without one the lines after the thought that begin with a call. Comments, `print(...)` and
    `name = ...` around the call are ignored. Positional arguments have the order of the function's parameters.
    """
    visible = text.rpartition("</think>")[2]
    blocks = [block for block in _BLOCK.findall(visible) if block.strip()]
    names = "|".join(re.escape(function.name) for function in functions)
    code = "\n".join(blocks) or "\n".join(line.strip() for line in visible.split("\n") if re.match(rf"\s*(?:{names})\(", line))
    calls: list[Call] = []
    for node in _calls(code):
        call = _read_call(node, functions)
        if call not in calls:
            calls.append(call)
    if len(calls) == 1:
        return calls[0]
    if not calls:
        raise InvalidAction(f"Your answer has no call of a function. {_remedy()}")
    different = printable_line(", ".join(name for name, _ in calls[:3]))
    raise InvalidAction(f"Your answer has {len(calls)} different calls: {different}. {_remedy()}")


def _calls(code: str) -> list[ast.Call]:
    """The calls that are statements of the code."""
    if len(code) > _MAX_CODE_CHARS:
        raise InvalidAction(f"Your code has more than {_MAX_CODE_CHARS} characters. {_remedy()}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes in a policy's code
            statements = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InvalidAction(f"Your code is no valid Python{line}. {_remedy()}") from None
    found = []
    for statement in statements:
        if _is_deep(statement):
            raise InvalidAction(f"Your code is nested too deeply. {_remedy()}")
        value = getattr(statement, "value", None) if isinstance(statement, ast.Expr | ast.Assign) else None
        if isinstance(value, ast.Call) and _name(value) in _WRAPPERS and len(value.args) == 1 and isinstance(value.args[0], ast.Call):
            value = value.args[0]
        if isinstance(value, ast.Call):
            found.append(value)
        elif not (isinstance(value, ast.Constant) or isinstance(statement, ast.Pass)):
            raise InvalidAction(f"Your code has more than a call: {printable_line(ast.unparse(statement))[:60]!r}. {_remedy()}")
    return found


def _read_call(node: ast.Call, functions: tuple[Function, ...]) -> Call:
    name = _name(node)
    parameters = next(([parameter.name for parameter in function.parameters] for function in functions if function.name == name), None)
    if parameters is None:
        raise InvalidAction(
            f"There is no function {printable_line(name)[:60]!r}; functions:"
            f" {', '.join(function.name for function in functions)}. {_remedy()}"
        )
    if len(node.args) > len(parameters):
        raise InvalidAction(f"{name} takes {len(parameters)} arguments at most. {_remedy()}")
    arguments: dict[str, Any] = {}
    keywords = [(keyword.arg, keyword.value) for keyword in node.keywords]
    for key, value in [*zip(parameters, node.args, strict=False), *keywords]:
        try:
            constant = _as_json(ast.literal_eval(value))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise InvalidAction(f"{name}: {printable_line(str(key))[:60]} must be a constant. {_remedy()}") from None
        if key is None or key in arguments:
            raise InvalidAction(f"{name}: give every argument once and by name. {_remedy()}")
        arguments[key] = constant
    return name, arguments


def _is_deep(node: ast.AST) -> bool:
    """Whether the code is nested more deeply than `_MAX_DEPTH`."""
    level = [node]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
        if not level:
            return False
    return True


def _as_json(value: Any) -> Any:
    """The value as JSON has it: tuples become lists. Raises TypeError for sets, bytes and numbers that JSON has not."""
    if isinstance(value, list | tuple):
        return [_as_json(entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(entry) for key, entry in value.items()}
    is_number = isinstance(value, int | float) and abs(value) < _MAX_NUMBER
    if value is None or isinstance(value, str | bool) or is_number:
        return value
    raise TypeError("no JSON value")


def _name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)


def _signature(function: Function) -> str:
    parts = []
    for parameter in function.parameters:
        kind = " | ".join(map(repr, parameter.choices)) or _PYTHON_TYPES[parameter.type]
        parts.append(f"{parameter.name}: {kind}{'' if parameter.name in function.required else ' = None'}")
    return f"{function.name}({', '.join(parts)})  # {function.description}"


def _remedy() -> str:
    return f"Give exactly one call, in the form:\n{CODE_FORM}"

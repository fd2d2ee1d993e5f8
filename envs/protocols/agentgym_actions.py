"""The text of an action in AgentGym's protocol: how its clients write it, and what its servers can parse.

AgentGym's clients send the tool environments and WebArena the policy's whole text, and the others an action that they have cut out of it.
Invariant: a policy's text is parsed and never evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from envs.protocols.agentgym import TOOL_ENVIRONMENTS

WHOLE_TEXT_ENVIRONMENTS = (*TOOL_ENVIRONMENTS, "webarena")
"""The environments whose servers parse the policy's whole text."""

_TOOL_CALL = re.compile(r"[`'\" ]*([A-Za-z_]\w*)[`'\" ]*(?:with\s+Action Input:\s*(.*))?", re.DOTALL)
_INPUT_MARKER = "Action Input:"
_MOVE = re.compile(r"move (.+) to (.+)")
_PUT = re.compile(r"put (.+?) (?:in/on|in|on) (.+)")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9, ]+")
_TOOL_MISUNDERSTANDINGS = ("Format error", "cannot unpack non-iterable NoneType", "Parameters in action input are not valid")
_WEBARENA_MISUNDERSTANDING = re.compile(r"Cannot parse action from response|Invalid (\w+ )?action|Unknown playwright action")

_MAX_INPUT_CHARS = 4_000

NO_CALL = 'Format error: end your answer with "Action: name with Action Input: {...}", the call and its input in one line.'
NO_MARKER = "ERROR | TypeError(cannot unpack non-iterable NoneType object): there is no 'Action:' before the call."
INVALID_INPUT = "ERROR | Exception(Parameters in action input are not valid): write them as a Python dictionary."
NO_BLOCK = "Cannot parse action from response: put it between ``` and ```."


@dataclass(frozen=True, slots=True)
class OutgoingAction:
    """What a client sends for an action. `well_formed`: a server that does not understand it does not speak this protocol."""

    text: str
    well_formed: bool = False


class Misunderstood(ValueError):
    """A text that AgentGym's server cannot parse; the message is its observation."""


def to_agentgym(name: str, action: str, available_actions: Sequence[str] | None = None) -> OutgoingAction:
    """An action of this project's environment `name` as AgentGym's client would send it.

    `available_actions`: those that the server sent last; they decide between the two wordings of ALFWorld's versions.
    """
    if name in TOOL_ENVIRONMENTS:
        return _tool_call(action)
    if name == "webarena":
        from envs.webarena.actions import parse

        return OutgoingAction(f"```{action.replace('```', '')}```", parse(action) is not None)
    if name == "alfworld":
        return OutgoingAction(_alfworld_action(action, available_actions or ()))
    if name == "maze":
        return OutgoingAction(" ".join(action.lower().split()))
    if name == "wordle":
        letters = "".join(action.lower().split())
        return OutgoingAction(" ".join(letters))
    if name in ("babyai", "textcraft"):
        words = " ".join(_NOT_ALLOWED.sub(" ", action).lower().split())
        return OutgoingAction(f"pickup {words.removeprefix('pick up ')}" if words.startswith("pick up ") else words)
    return OutgoingAction(action)


def is_misunderstanding(name: str, observation: str) -> bool:
    """Whether an observation says that AgentGym's server could not parse the text of the action."""
    if name in TOOL_ENVIRONMENTS:
        return observation.removeprefix("Observation: ").startswith(("Format error", "ERROR | ")) and any(
            sign in observation for sign in _TOOL_MISUNDERSTANDINGS
        )
    return name == "webarena" and _WEBARENA_MISUNDERSTANDING.match(observation) is not None


def parse_answer(name: str, text: str) -> str:
    """The action in a text sent to an environment of WHOLE_TEXT_ENVIRONMENTS, parsed as strictly as by AgentGym's server.

    A tool call must be at the end, after `Action:`, with its input, a Python dictionary, in one line. WebArena takes the first block
    between ``` and ```. Raises Misunderstood.
    """
    if name == "webarena":
        parts = text.split("```", 2)
        if len(parts) < 3:
            raise Misunderstood(NO_BLOCK)
        return parts[1].strip()
    call = _call_at_the_end(text)
    if call is None:
        raise Misunderstood(NO_CALL)
    _, marker, tool = call[0].partition("Action:")
    if not marker:
        raise Misunderstood(NO_MARKER)
    if not _is_python_literal(call[1]):
        raise Misunderstood(INVALID_INPUT)
    return f"{tool.strip()} with Action Input: {call[1]}"


def _call_at_the_end(text: str) -> tuple[str, str] | None:
    """(the line before `with Action Input:`, the input) if the input is the end of the text and has no line break. In linear time."""
    text = text.removesuffix("\n")
    last_line = text.rfind("\n") + 1
    before = text[:last_line].rstrip()
    marker = len(before) - len(_INPUT_MARKER) if before.endswith(_INPUT_MARKER) else text.find(_INPUT_MARKER, last_line)
    while marker >= 0:
        end = _skip_spaces_back(text, marker)
        if text.endswith("with", 0, end):
            end = _skip_spaces_back(text, end - len("with"))
            return text[text.rfind("\n", 0, end) + 1 : end], text[marker + len(_INPUT_MARKER) :].strip()
        marker = text.find(_INPUT_MARKER, marker + 1)
    return None


def _skip_spaces_back(text: str, end: int) -> int:
    while end > 0 and text[end - 1].isspace():
        end -= 1
    return end


def _tool_call(action: str) -> OutgoingAction:
    """A tool call with its input as a Python dictionary in one line: AgentGym's server reads no JSON and only one line."""
    from envs.tools.arguments import InvalidArguments, parse_arguments

    line = " ".join(action.split())
    call = _TOOL_CALL.fullmatch(line)
    if call is None:
        return OutgoingAction(f"Action: {line}")
    arguments = (call[2] or "{}").strip("` ")
    try:
        parsed = parse_arguments(arguments)
    except InvalidArguments:
        return OutgoingAction(f"Action: {call[1]} with Action Input: {arguments}")
    if not _is_python_literal(arguments):
        arguments = repr(parsed)
    return OutgoingAction(f"Action: {call[1]} with Action Input: {arguments}", well_formed=True)


def _is_python_literal(text: str) -> bool:
    if len(text) > _MAX_INPUT_CHARS:  # Python's parser needs much memory for a long expression
        return False
    try:
        ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return False
    return True


def _alfworld_action(action: str, available_actions: Sequence[str]) -> str:
    """`move X to Y` is `put X in/on Y` in the alfworld 0.3.3 that AgentGym pins; newer servers take the former alone."""
    words = " ".join(action.lower().split())
    match = _MOVE.fullmatch(words) or _PUT.fullmatch(words)
    if match is None or words in available_actions:
        return words
    if any(command.startswith("move ") for command in available_actions):
        return f"move {match[1]} to {match[2]}"
    return f"put {match[1]} in/on {match[2]}"
